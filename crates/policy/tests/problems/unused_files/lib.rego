package lib

reads(name) if startswith(name, "get_")
