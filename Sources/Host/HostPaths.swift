import Glibc

/// Where the kernel tells about itself; tests point these to a folder of their own.
public struct HostPaths: Sendable {
    /// Usually `/proc` and `/sys`.
    public let proc: String, sys: String

    /// The kernel's own places unless the arguments say otherwise.
    public init(proc: String = "/proc", sys: String = "/sys") { (self.proc, self.sys) = (proc, sys) }

    /// A small text file without its final newline; `nil` when it cannot be read.
    func text(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { _ = close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while bytes.count < Self.byteCountMax {
            let count = unsafe read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { break }
            bytes += chunk[0..<count]
        }
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A file that holds one number; `nil` when it does not.
    func number(_ path: String) -> Int64? {
        text(path).flatMap { Int64($0.drop { $0 == " " }) }
    }

    /// The names in a folder, sorted; empty when it cannot be read.
    func names(in path: String) -> [String] {
        guard let folder = unsafe opendir(path) else { return [] }
        defer { unsafe _ = closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// `/proc/cpuinfo` of a machine with hundreds of cores is the longest file read here.
    private static let byteCountMax = 4 << 20
}

extension String {
    /// The value of a `key : value` line, as `/proc` writes them.
    func field(_ key: String) -> String? {
        for line in split(separator: "\n") where line.hasPrefix(key) {
            guard let colon = line.firstIndex(of: ":"), line[..<colon].trimmed == key else { continue }
            return String(line[line.index(after: colon)...].trimmed)
        }
        return nil
    }

    /// The value of a `key : 123 kB` line, in bytes.
    func byteField(_ key: String) -> Int64? {
        guard let value = field(key)?.split(separator: " ").first.flatMap({ Int64($0) }) else { return nil }
        let (bytes, overflow) = value.multipliedReportingOverflow(by: 1024)
        return overflow ? nil : bytes
    }
}

extension Substring {
    /// The text without blanks at its ends.
    var trimmed: Substring {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        var rest = drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return rest
    }
}
