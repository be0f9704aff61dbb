"""Compiles Python files to bytecode that is the same wherever it is made.

Arguments: the site, and the folder it has in an image. Standard input: the
files, relative to the site, each ended by a NUL. Nothing of the site is
imported or run. Files that do not compile are left without bytecode.
"""

import importlib.util
import marshal
import os
import sys


def unordered(value):
    """Says whether a constant's order in memory changes from run to run."""
    fixed = (str, bytes, int, float, complex, tuple)
    return any(not isinstance(v, fixed) for v in value)


def hold(code, held):
    """Holds every string of the code, and refuses what has no fixed order.

    marshal marks what it may meet again by its reference count, and strings
    are shared with all that the interpreter has seen: held once more, all of
    them are marked.
    """
    for names in (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars):
        held += names
    held += (code.co_name, code.co_filename, getattr(code, "co_qualname", None))
    constants = list(code.co_consts)
    for value in constants:
        if isinstance(value, str):
            held.append(value)
        elif isinstance(value, frozenset):
            if sys.version_info < (3, 11) and unordered(value):  # sorted by marshal since
                raise ValueError("a set without order")
            constants.extend(value)
        elif isinstance(value, tuple):
            constants.extend(value)
        elif isinstance(value, type(code)):
            hold(value, held)


def compiled(source, name):
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    held = []
    hold(code, held)
    unchecked = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source) + marshal.dumps(code)


def main():
    site, image = sys.argv[1:]
    for file in sys.stdin.buffer.read().split(b"\0")[:-1]:
        file = os.fsdecode(file)
        path = os.path.join(site, file)
        with open(path, "rb") as f:
            source = f.read()
        try:
            data = compiled(source, image + "/" + file)
        except Exception:
            continue
        target = importlib.util.cache_from_source(path, optimization="")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(data)


main()
