allow contains "x" if input.tool.name == "a"
