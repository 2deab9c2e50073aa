"""Programs in a network of their own, where nobody answers."""

# A resolver that takes every question and never answers; what follows the folder is run there.
SILENT_RESOLVER = """
    import os, pathlib, socket, subprocess, sys
    folder = pathlib.Path(sys.argv[1])
    file = folder / f"resolv-{os.getpid()}.conf"
    file.write_text("nameserver 127.0.0.53\\n")
    subprocess.run(["mount", "--bind", file, "/etc/resolv.conf"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"])
    questions = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    questions.bind(("127.0.0.53", 53))
    sys.exit(subprocess.run(sys.argv[2:]).returncode)
"""
