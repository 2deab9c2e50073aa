"""Cold: reads the command line of an interpreter as it does itself. Builtin modules only, and none of ours."""


def program_of(arguments):
    """Return the program of a command line with options (the path of the script as given, the module of -m, "-c", "-",
    or "python" for a prompt) and whether it is a script file.
    """
    position = 1
    while position < len(arguments):
        argument = arguments[position]
        flags = argument[1:] if argument[:1] == "-" and argument[:2] != "--" else ""
        for index, flag in enumerate(flags):
            if flag in "mc":
                rest = flags[index + 1 :] or "".join(arguments[position + 1 : position + 2])
                return (rest if flag == "m" else "-c"), False
            if flag in "WX":
                position += not flags[index + 1 :]
                break
        if argument == "-" or not argument.startswith("-"):
            return argument, argument != "-"
        position += 2 if argument == "--check-hash-based-pycs" else 1
    return "python", False
