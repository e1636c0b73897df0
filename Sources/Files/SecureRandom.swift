import Glibc

/// Bytes from the kernel's generator, fit for tokens and for names nobody may guess.
public func secureRandomBytes(_ count: Int) throws(FileError) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
        // The kernel refuses more than 256 bytes a call.
        let wanted = min(count - bytes.count, 256)
        var failure: Int32 = 0
        let chunk = unsafe [UInt8](unsafeUninitializedCapacity: wanted) { buffer, initialized in
            failure = unsafe getentropy(buffer.baseAddress, wanted) == 0 ? 0 : errno
            initialized = failure == 0 ? wanted : 0
        }
        guard failure == 0 else {
            throw .system(action: "read random bytes from", path: "the kernel", errno: failure)
        }
        bytes.append(contentsOf: chunk)
    }
    return bytes
}
