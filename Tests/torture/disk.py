"""A disk that forgets: what may be left of a folder after a power cut, from a record of system calls.

What was written and not synced may be there or not, each 512 bytes of it on their own; what happened to a folder's
names and was not synced may be there up to any point. POSIX promises no more than that.
"""

import os
import re

# What changes files or makes changes durable, and what says which file a descriptor is.
CALLS = ("openat,open,creat,write,pwrite64,writev,pwritev,lseek,ftruncate,truncate,fallocate,fsync,fdatasync,rename,"
         "renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,copy_file_range,sendfile,splice")
STRACE = ["strace", "-f", "-q", "--seccomp-bpf", "-ttt", "-y", "-xx", "-s", str(64 << 20), "-e", f"trace={CALLS}"]
SECTOR = 512

LINE = re.compile(r"(\d+) +(\d+\.\d+) (?:(\w+)\(|<\.\.\. (\w+) resumed>)(.*)\n", re.DOTALL)
RESULT = re.compile(r"\) += (-?\d+|\?)(?:<[^>]*>)?(?: E\w+ \([^)]*\))?$")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
DESCRIPTOR = re.compile(r"^(AT_FDCWD|\d+)(?:<((?:\\x[0-9a-f]{2})*)>)?")


class Unreadable(Exception):
    """The record has something that this reader does not know: nothing may be concluded from it."""


class Call:
    """One system call that succeeded: its name, its arguments as they stand in the record, its result."""

    def __init__(self, name, arguments, result):
        self.name, self.arguments, self.result = name, arguments, result

    @property
    def texts(self):
        """The strings among the arguments, as bytes."""
        found = []
        for text, is_cut in TEXT.findall(self.arguments):
            if is_cut:
                raise Unreadable(f"a string of {self.name} is cut short")
            found.append(plain(text))
        return found

    @property
    def descriptor(self):
        """The first argument, where it is a descriptor."""
        return int(DESCRIPTOR.match(self.arguments)[1])

    def paths(self):
        """The absolute paths among the arguments."""
        found, place = [], None
        for part in self.arguments.split(", "):
            if base := DESCRIPTOR.match(part):
                place = plain(base[2] or "").decode()
            elif text := TEXT.match(part):
                found.append(os.path.normpath(os.path.join(place or "/", plain(text[1]).decode())))
        return found


def plain(text):
    """The bytes that strace wrote as `\\x61\\x62`."""
    return bytes.fromhex(text.replace("\\x", ""))


def path_of(call):
    """The path that strace gives a call's descriptor; empty where it has none."""
    return plain(DESCRIPTOR.match(call.arguments)[2] or "").decode(errors="replace")


def read(path):
    """Yields (time, "begin" or "end", key, call) in the order of the record; a call begins and ends apart."""
    begun = {}
    with open(path, encoding="ascii") as file:
        for number, line in enumerate(file):
            found = LINE.fullmatch(line)
            if not found:
                # Ends, signals, and calls of threads that died before strace could read which they were.
                if " +++ " in line or " --- " in line or " ???(" in line or "<... ??? resumed>" in line:
                    continue
                raise Unreadable(f"line {number + 1}: {line[:200]}")
            thread, when, name, resumed, rest = found.groups()
            when = float(when)
            if name and rest.endswith("<unfinished ...>"):
                begun[thread] = (number, name, rest.removesuffix("<unfinished ...>"))
                yield when, "begin", number, Call(name, "", 0)
                continue
            key = number
            if resumed:
                key, name, before = begun.pop(thread)
                rest = before + rest
            else:
                yield when, "begin", key, Call(name, "", 0)
            result = RESULT.search(rest)
            if not result:
                raise Unreadable(f"line {number + 1} has no result: {line[-200:]}")
            # A call that its process did not live to see the end of has none; neither has one that failed.
            if result[1] != "?" and int(result[1]) >= 0:
                yield when, "end", key, Call(name, rest[:result.start()], int(result[1]))


class File:
    """A file's writes in their order, and how many of them are durable."""

    def __init__(self):
        self.log, self.durable = [], 0

    def write(self, offset, data):
        self.log.append((offset, data))

    def truncate(self, count):
        self.log.append((count, None))

    def content(self, draw, share):
        """What is left: durable writes, and `share` of the sectors of the others."""
        data = bytearray()
        for index, (offset, piece) in enumerate(self.log):
            is_durable = index < self.durable
            if piece is None:
                if is_durable or draw.random() < share:
                    data = data[:offset] + bytes(max(0, offset - len(data)))
                continue
            for start in range(0, len(piece), len(piece) if is_durable else SECTOR):
                if is_durable or draw.random() < share:
                    part = piece[start:] if is_durable else piece[start:start + SECTOR]
                    place = offset + start
                    if len(data) < place:
                        data += bytes(place - len(data))
                    data[place:place + len(part)] = part
        return bytes(data)


class Folder:
    """A folder's changes in their order: (name, what it names now, `None` for nothing)."""

    def __init__(self):
        self.log, self.durable, self.now = [], 0, {}

    def change(self, *changes):
        """Changes of names that happen together."""
        self.log.append(changes)
        self.now.update(changes)

    def names(self, draw, share):
        """What is left: all durable changes, and those behind them up to a point."""
        pending = len(self.log) - self.durable
        count = self.durable + (pending if share == 1 else draw.randint(0, pending) if share else 0)
        names = {}
        for changes in self.log[:count]:
            names.update(changes)
        return {name: what for name, what in names.items() if what is not None}


class Disk:
    """Everything below one folder, which itself is durable; `forgets` says of which paths a sync does nothing."""

    def __init__(self, root, forgets=lambda path: False):
        self.root, self.top, self.forgets = root, Folder(), forgets
        # By descriptor what it stands for and where it reads on; by call what a sync will have made durable.
        self.open, self.syncing = {}, {}

    def find(self, path):
        """What a path leads to now."""
        what = self.top
        for name in os.path.relpath(path, self.root).split("/"):
            if not isinstance(what, Folder):
                return None
            what = what.now.get(name) if name != "." else what
        return what

    def is_inside(self, path):
        return path.startswith(self.root + "/")

    def folder(self, path):
        found = self.find(os.path.dirname(path))
        if not isinstance(found, Folder):
            raise Unreadable(f"{path} lies in no known folder")
        return found

    def apply(self, kind, key, call):
        """Takes over what a call has done; a sync covers what had ended when it began."""
        if call.name in ("fsync", "fdatasync"):
            if kind == "begin":
                self.syncing[key] = {}
                return
            if (what := self.known(call)) and not self.forgets(path_of(call)):
                what[0].durable = max(what[0].durable, self.syncing[key].get(id(what[0]), len(what[0].log)))
            del self.syncing[key]
        elif kind == "end":
            getattr(self, f"do_{call.name}")(call)

    def known(self, call):
        """The file or folder of ours behind a call's descriptor, and where it reads on; closing is not recorded."""
        path = path_of(call)
        return self.open.get(call.descriptor) if path == self.root or self.is_inside(path) else None

    def note(self, what):
        """Before a change: syncs that run already need not cover it."""
        for covered in self.syncing.values():
            covered.setdefault(id(what), len(what.log))

    def do_openat(self, call):
        [path] = call.paths()
        self.open.pop(call.result, None)
        if path != self.root and not self.is_inside(path):
            return
        what = self.find(path)
        if what is None:
            if "O_CREAT" not in call.arguments:
                raise Unreadable(f"{path} was opened and never made")
            what = File()
            self.change(path, what)
        elif "O_TRUNC" in call.arguments:
            self.note(what)
            what.truncate(0)
        self.open[call.result] = [what, 0]

    do_open = do_openat

    def change(self, path, what):
        folder = self.folder(path)
        self.note(folder)
        folder.change((os.path.basename(path), what))

    def do_write(self, call):
        if known := self.known(call):
            self.note(known[0])
            known[0].write(known[1], b"".join(call.texts)[:call.result])
            known[1] += call.result

    do_writev = do_write

    def do_pwrite64(self, call):
        if known := self.known(call):
            self.note(known[0])
            known[0].write(int(call.arguments.rsplit(", ", 1)[1]), b"".join(call.texts)[:call.result])

    do_pwritev = do_pwrite64

    def do_lseek(self, call):
        if known := self.known(call):
            known[1] = call.result

    def do_ftruncate(self, call):
        if known := self.known(call):
            self.note(known[0])
            known[0].truncate(int(call.arguments.rsplit(", ", 1)[1]))

    def do_mkdir(self, call):
        [path] = call.paths()
        if self.is_inside(path):
            self.change(path, Folder())

    do_mkdirat = do_mkdir

    def do_unlink(self, call):
        [path] = call.paths()
        if self.is_inside(path):
            self.change(path, None)

    do_unlinkat = do_rmdir = do_unlink

    def do_rename(self, call):
        before, after = call.paths()
        if not self.is_inside(before) and not self.is_inside(after):
            return
        what, (here, there) = self.find(before), (self.folder(before), self.folder(after))
        names = (os.path.basename(before), None), (os.path.basename(after), what)
        self.note(here)
        self.note(there)
        if here is there:
            here.change(*names)
        else:
            there.change(names[1])
            here.change(names[0])

    do_renameat = do_renameat2 = do_rename

    def do_link(self, call):
        before, after = call.paths()
        if self.is_inside(after):
            self.change(after, self.find(before))

    do_linkat = do_link

    def unknown(self, call):
        """A call that would have to be modelled, were it to change a file of ours."""
        if self.known(call):
            raise Unreadable(f"{call.name}({call.arguments[:200]})")

    do_fallocate = do_sendfile = unknown

    def do_copy_file_range(self, call):
        raise Unreadable(f"{call.name}({call.arguments[:200]})")

    do_splice = do_copy_file_range

    def do_truncate(self, call):
        if any(map(self.is_inside, call.paths())):
            raise Unreadable(f"truncate({call.arguments[:200]})")

    def do_creat(self, call):
        if any(map(self.is_inside, call.paths())):
            raise Unreadable(f"creat({call.arguments[:200]})")

    def leave(self, target, draw, share):
        """Writes what a power cut leaves now into `target`: of what is not durable, `share`."""
        seen = {}

        def put(folder, path):
            os.makedirs(path, 0o700, exist_ok=True)
            for name, what in folder.names(draw, share).items():
                place = os.path.join(path, name)
                if isinstance(what, Folder):
                    put(what, place)
                elif id(what) in seen:
                    os.link(seen[id(what)], place)
                else:
                    with open(place, "wb") as file:
                        file.write(what.content(draw, share))
                    os.chmod(place, 0o600)
                    seen[id(what)] = place

        put(self.top, target)
