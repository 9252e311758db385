"""The PostgreSQL that the rows lie in: reached, migrated, or run here from the wheel. Knows no rows."""
