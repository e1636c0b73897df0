import Glibc

/// One open file descriptor: the only place where bytes cross into the kernel.
///
/// Every call checks its result and reads `errno` at once. Interrupted calls are repeated, except
/// `fsync` and `close`: after either fails the state of the file is unknown and repeating would
/// report a success that did not happen.
struct Descriptor: ~Copyable, Sendable {
    let number: Int32
    let path: String

    /// Opens `path` with `O_CLOEXEC` added to `flags`.
    init(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(FileError) {
        guard !path.utf8.contains(0) else {
            throw .system(action: "open", path: path.filter { $0 != "\0" }, errno: EINVAL)
        }
        var opened: Int32
        repeat { unsafe opened = open(path, flags | O_CLOEXEC, mode) } while opened < 0 && errno == EINTR
        guard opened >= 0 else { throw .system(action: "open", path: path, errno: errno) }
        number = opened
        self.path = path
    }

    deinit { _ = Glibc.close(number) }

    /// Size in bytes as the kernel reports it now.
    func byteCount() throws(FileError) -> Int {
        var status = stat()
        guard unsafe fstat(number, &status) == 0 else {
            throw .system(action: "examine", path: path, errno: errno)
        }
        return Int(status.st_size)
    }

    /// Reads at most `count` bytes onto the end of `bytes`; returns how many, 0 at the end of the file.
    func read(upTo count: Int, onto bytes: inout [UInt8]) throws(FileError) -> Int {
        var failure: Int32 = 0
        var received = 0
        let chunk = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            var result: Int
            repeat {
                unsafe result = Glibc.read(number, buffer.baseAddress, count)
            } while result < 0 && errno == EINTR
            if result < 0 { failure = errno }
            received = max(result, 0)
            initialized = received
        }
        guard failure == 0 else { throw .system(action: "read", path: path, errno: failure) }
        bytes.append(contentsOf: chunk)
        return received
    }

    /// Reads `count` bytes from `offset` on, fewer only where the file ends.
    func read(_ count: Int, at offset: Int) throws(FileError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            guard let start = buffer.baseAddress else { return }
            while initialized < count {
                let result = unsafe pread(
                    number, start + initialized, count - initialized, offset + initialized)
                if result < 0 && errno == EINTR { continue }
                if result < 0 { failure = errno }
                if result <= 0 { return }
                initialized += result
            }
        }
        guard failure == 0 else { throw .system(action: "read", path: path, errno: failure) }
        return bytes
    }

    /// Writes all of `bytes`, continuing after short writes.
    func writeAll(_ bytes: RawSpan) throws(FileError) {
        let failure = unsafe bytes.withUnsafeBytes { buffer -> Int32 in
            guard let start = buffer.baseAddress else { return 0 }
            var written = 0
            while written < buffer.count {
                let result = unsafe Glibc.write(number, start + written, buffer.count - written)
                if result < 0 {
                    if errno == EINTR { continue }
                    return errno
                }
                written += result
            }
            return 0
        }
        guard failure == 0 else { throw .system(action: "write", path: path, errno: failure) }
    }

    /// Makes everything written so far survive a power cut.
    func synchronize() throws(FileError) {
        guard fsync(number) == 0 else { throw .system(action: "sync", path: path, errno: errno) }
    }
}
