import Files
import Foundation
import Testing

@Suite("Folders, locks and bounded reads") struct FolderTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    @Test("a lock excludes a second one until it is dropped")
    func lock() throws {
        do {
            let lock = try FolderLock(folder: folder.path)
            #expect(throws: FileError.locked(path: lock.path)) { try FolderLock(folder: folder.path) }
            #expect(FileError.locked(path: "/d/LOCK").description == "/d/LOCK is locked by another process.")
            withExtendedLifetime(lock) {}
        }
        _ = try FolderLock(folder: folder.path)
    }

    @Test("a lock holds though its file is deleted, and tells when its folder is elsewhere")
    func lockOfFolder() throws {
        let (place, other) = (folder.file("data"), folder.file("moved"))
        try Folder.make(place)
        let lock = try FolderLock(folder: place)
        try Folder.removeFile(lock.path)
        #expect(throws: FileError.locked(path: lock.path)) { try FolderLock(folder: place) }
        let tokens = try FolderLock(folder: place, name: "TOKENS.LOCK")
        #expect(lock.isInPlace && tokens.isInPlace)
        try Folder.move(place, to: other)
        #expect(!lock.isInPlace)
        try Folder.make(place)
        #expect(!lock.isInPlace, "another folder of the name")
        try Folder.removeTree(place)
        try Folder.move(other, to: place)
        #expect(lock.isInPlace)
    }

    @Test("a read stops at its limit, also where the size is unknown")
    func limits() throws {
        let path = try folder.put([1, 2, 3], as: "f")
        #expect(try readFile(path, limit: 3) == [1, 2, 3])
        #expect(throws: FileError.tooLarge(path: path, limit: 2)) { try readFile(path, limit: 2) }
        #expect(throws: FileError.tooLarge(path: "/dev/zero", limit: 5000)) {
            try readFile("/dev/zero", limit: 5000)
        }
        #expect(try readFile("/dev/null", limit: 0).isEmpty)
    }

    @Test("a name with a zero byte is refused, not cut")
    func zeroByte() throws {
        _ = try folder.put([1], as: "f")
        #expect(throws: FileError.self) { try readFile(folder.file("f\0g"), limit: 10) }
    }

    @Test("folders are made with their parents, listed in order and removed with all they hold")
    func tree() throws {
        let deep = folder.file("x/y/z")
        try Folder.make(deep)
        try Folder.make(deep)
        for name in ["b", "a", "C"] { try AtomicFile.write(name, to: "\(deep)/\(name)") }
        #expect(try Folder.names(in: deep) == ["C", "a", "b"])
        let outside = try folder.put([1], as: "outside")
        try FileManager.default.createSymbolicLink(atPath: "\(deep)/link", withDestinationPath: folder.path)
        try Folder.removeTree(folder.file("x"))
        #expect(try Folder.names(in: folder.path) == ["outside"], "links are not followed")
        #expect(Folder.status(of: outside)?.byteCount == 1)
        try Folder.removeTree(folder.file("x"))
        #expect(throws: FileError.self) { try Folder.make(outside) }
    }

    @Test("a link stands for a folder only where that is said")
    func link() throws {
        let (link, file) = (folder.file("link"), folder.file("to a file"))
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: folder.path)
        try FileManager.default.createSymbolicLink(
            atPath: file, withDestinationPath: folder.put([1], as: "outside"))
        #expect(throws: FileError.self) { try Folder.make(link) }
        try Folder.make(link, followingLinks: true)
        #expect(throws: FileError.self) { try Folder.make(file, followingLinks: true) }
    }

    @Test("a shared file is one file with two names, and is not shared over another")
    func share() throws {
        let path = try folder.put([1, 2], as: "f")
        #expect(try AtomicFile.share(path, as: folder.file("g")))
        try Folder.removeFile(path)
        #expect(try readFile(folder.file("g"), limit: 9) == [1, 2])
        let other = try folder.put([3], as: "h")
        #expect(throws: FileError.self) { try AtomicFile.share(other, as: folder.file("g")) }
        #expect(try readFile(folder.file("g"), limit: 9) == [1, 2])
        let missing = try #require(throws: FileError.self) {
            try AtomicFile.share(folder.file("none"), as: folder.file("i"))
        }
        #expect(missing.isMissing)
        #expect(throws: FileError.self) { try AtomicFile.share(folder.path, as: folder.file("i")) }
    }

    @Test("a file on another disk is copied instead")
    func shareAcrossDisks() throws {
        // Shared memory is a disk of its own on every Linux machine; where it is not, links are right too.
        let other = "/dev/shm/vintner-files-\(UUID().uuidString)"
        guard (try? Folder.make(other)) != nil else { return }
        defer { try? Folder.removeTree(other) }
        let path = try folder.put([1, 2], as: "f")
        _ = try AtomicFile.share(path, as: "\(other)/f")
        #expect(try readFile("\(other)/f", limit: 9) == [1, 2])
        #expect(try Folder.names(in: other) == ["f"])
    }

    @Test("permissions are read and set")
    func permissions() throws {
        let path = try folder.put([1], as: "f")
        for mode in [0o600, 0o644, 0o400] as [UInt32] {
            try Folder.setPermissions(of: path, to: mode)
            #expect(Folder.status(of: path)?.permissions == mode)
        }
    }

    @Test("what others wrote under a temporary name is published whole")
    func publish() throws {
        let temporary = try AtomicFile.temporaryPath(for: folder.file("f"))
        #expect(AtomicFile.isLeftover(URL(filePath: temporary).lastPathComponent))
        try Data([7]).write(to: URL(filePath: temporary))
        try AtomicFile.publish(temporary, as: folder.file("f"))
        #expect(try Folder.names(in: folder.path) == ["f"])
        #expect(throws: FileError.self) { try AtomicFile.publish(temporary, as: folder.file("g")) }
    }

    @Test("a move replaces the name and the disk has a size")
    func move() throws {
        let path = try folder.put([1], as: "f")
        try Folder.move(path, to: folder.file("g"))
        #expect(try Folder.names(in: folder.path) == ["g"])
        let error = try #require(throws: FileError.self) { try Folder.move(path, to: folder.file("h")) }
        #expect(error.isMissing)
        let space = try Folder.space(at: folder.path)
        #expect(space.free > 0 && space.free <= space.total)
    }
}
