import Foundation
import Jobs
import Testing

@testable import vintner

@Suite("Room on the disk") struct DiskRoomTests {
    @Test("is asked for by the disk's size: a twentieth, at most 2 GiB")
    func automatic() {
        #expect(DiskRoom.automatic(total: 64 << 20) == (64 << 20) / 20)
        #expect(DiskRoom.automatic(total: 40 << 30) == 2 << 30)
        #expect(DiskRoom.automatic(total: 1 << 42) == 2 << 30)
    }

    @Test("is short below what is asked for, and never where nobody can tell")
    func shortage() throws {
        let folder = FileManager.default.temporaryDirectory.path
        let short = try #require(DiskRoom(path: folder, least: .max).shortage)
        #expect(short.least == .max)
        #expect(short.free > 0)
        #expect(DiskRoom(path: folder, least: 1).shortage == nil)
        #expect(DiskRoom(path: "\(folder)/not/there", least: .max).shortage == nil)
    }
}
