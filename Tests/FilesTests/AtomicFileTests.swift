import Foundation
import Testing

@testable import Files

@Suite("An atomic file appears whole or not at all") struct AtomicFileTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    @Test("what was written is read back, with its size and hash")
    func roundTrip() throws {
        let bytes = (0..<100_003).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let receipt = try AtomicFile.write(bytes, to: folder.file("a"))
        #expect(try readFile(folder.file("a"), limit: bytes.count) == bytes)
        #expect(receipt == AtomicFile.Receipt(byteCount: bytes.count, sha256: SHA256.digest(of: bytes)))
        #expect(try SHA256.digest(ofFile: folder.file("a")) == receipt.sha256)
        #expect(try Folder.names(in: folder.path) == ["a"])
    }

    @Test("the old content stays until commit, and an abandoned writer leaves nothing")
    func abandonedWriter() throws {
        try AtomicFile.write("old", to: folder.file("a"))
        do {
            let writer = try AtomicFile.Writer(folder.file("a"))
            try writer.write([UInt8](repeating: 7, count: 5000))
            #expect(try readFile(folder.file("a"), limit: 10) == Array("old".utf8))
            #expect(try Folder.names(in: folder.path).count == 2)
        }
        #expect(try Folder.names(in: folder.path) == ["a"])
        #expect(try readFile(folder.file("a"), limit: 10) == Array("old".utf8))
    }

    @Test("pieces are joined in order and replace the old file")
    func pieces() throws {
        try AtomicFile.write("something longer than the new content", to: folder.file("a"))
        let writer = try AtomicFile.Writer(folder.file("a"))
        try writer.write([1, 2])
        try writer.write([])
        try writer.write([3])
        #expect(try writer.commit().byteCount == 3)
        #expect(try readFile(folder.file("a"), limit: 10) == [1, 2, 3])
    }

    @Test("files are private unless asked otherwise")
    func modes() throws {
        try AtomicFile.write("x", to: folder.file("private"))
        try AtomicFile.write("x", to: folder.file("shared"), mode: 0o640)
        func mode(_ name: String) throws -> Int? {
            let attributes = try FileManager.default.attributesOfItem(atPath: folder.file(name))
            return attributes[.posixPermissions] as? Int
        }
        #expect(try mode("private") == 0o600)
        #expect(try mode("shared") == 0o640)
    }

    @Test("a full disk is an error that says so")
    func fullDisk() throws {
        let device = try Descriptor("/dev/full", O_WRONLY)
        let error = try #require(throws: FileError.self) {
            try unsafe device.writeAll([UInt8](repeating: 0, count: 4096).span.bytes)
        }
        #expect(error.isDiskFull)
        #expect(error.description == "Could not write /dev/full: No space left on device (errno 28).")
    }

    @Test("short writes are continued until every byte is through")
    func shortWrites() throws {
        // A pipe holds 64 KiB, so one large write is certain to be cut into pieces.
        let pipe = folder.file("pipe")
        try #require(unsafe mkfifo(pipe, 0o600) == 0)
        let bytes = (0..<300_007).map { UInt8(truncatingIfNeeded: $0 &* 17) }
        let received = Received()
        let done = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            received.bytes = (try? readFile(pipe, limit: 1 << 20)) ?? []
            done.signal()
        }
        do { try unsafe Descriptor(pipe, O_WRONLY).writeAll(bytes.span.bytes) }
        done.wait()
        #expect(received.bytes == bytes)
    }

    @Test("a missing folder is named in the error")
    func missingFolder() throws {
        let path = folder.file("nowhere/a")
        let error = try #require(throws: FileError.self) { try AtomicFile.write("x", to: path) }
        #expect(error.isMissing)
        #expect(error.description.contains("No such file or directory"))
    }

    @Test("leftovers of interrupted writers are removed and nothing else")
    func leftovers() throws {
        try AtomicFile.write("x", to: folder.file("keep.tmp"))
        _ = try folder.put([1], as: ".model.0011223344556677.tmp")
        #expect(try AtomicFile.removeLeftovers(in: folder.path) == [".model.0011223344556677.tmp"])
        #expect(try Folder.names(in: folder.path) == ["keep.tmp"])
    }
}

// Safe because it is filled by one thread and read only after that thread has signalled.
final class Received: @unchecked Sendable {
    var bytes: [UInt8] = []
}
