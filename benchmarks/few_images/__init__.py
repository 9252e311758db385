"""Few images a class: how well each strategy knows them, and how well it says that it does not know others."""
