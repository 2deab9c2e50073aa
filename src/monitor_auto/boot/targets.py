"""Hot: data. Which hook waits for which module: the module's name -> the hook's module and function.

A new library is a line here, a file in `hooks/` and a test file. Standard-library targets are patched without wrapt.
"""

STDLIB = {
    "threading": "monitor_auto.boot.endings:install_threading",
}

THIRD_PARTY = {
    "httpx": "monitor_auto.hooks.httpx:install",
    "IPython.core.interactiveshell": "monitor_auto.hooks.ipython:install",
}
