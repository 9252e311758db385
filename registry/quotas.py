"""What a key may be limited in. Apart from the keys themselves, so that naming a limit loads no database."""

QUOTAS = ("predict_images_per_minute", "changes_per_minute", "tasks_per_day", "images_per_day")
