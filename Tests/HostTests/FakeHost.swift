import Foundation
import Host

/// A `/proc` and a `/sys` of our own in a temporary folder.
final class FakeHost {
    let folder = FileManager.default.temporaryDirectory.appending(path: "host-\(UUID().uuidString)")

    init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(at: folder) }

    var paths: HostPaths {
        HostPaths(proc: folder.appending(path: "proc").path, sys: folder.appending(path: "sys").path)
    }

    func write(_ path: String, _ text: String) throws {
        let file = folder.appending(path: path)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(to: file, atomically: true, encoding: .utf8)
    }
}
