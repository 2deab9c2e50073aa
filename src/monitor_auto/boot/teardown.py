"""Cold: `import` for our cold modules while the interpreter is taken down, when `sys.modules` is empty and a `__del__`
may still raise what has to be recorded. Imports nothing.
"""


def make_import(package):
    """Return the `__import__` of that time; it finds what we hold already. `package` is the namespace of `boot`."""

    def late_import(name, globals_=None, locals_=None, fromlist=None, level=0):
        if level and name:
            return package["load"](name)
        if level:
            for part in fromlist:
                if part not in package:
                    package["load"](part)
            return type(package["sys"].implementation)(**package)
        # importlib keeps _imp, _thread and _weakref to the very end (3.10 to 3.15, importlib/_bootstrap.py: _setup).
        importlib = type(package["_builtins"]["__spec__"]).__init__.__globals__
        for holder in (importlib, *[vars(package[part]) for part in package["HOT"]]):
            module = holder.get(name)
            if isinstance(module, type(package["sys"])):
                return module
        if name == "os":  # emptied by then; what repairs a segment takes nothing from it that this has not
            return package["system"]
        raise ImportError("no " + name + " while the interpreter is taken down")

    return late_import
