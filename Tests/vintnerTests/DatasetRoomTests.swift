import Data
import Files
import Foundation
import Jobs
import Synchronization
import Testing

@testable import vintner

@Suite("The room for datasets") final class DatasetRoomTests {
    private let folder: DataFolder

    init() throws {
        folder = DataFolder(path: "\(NSTemporaryDirectory())vintner-room-\(UUID().uuidString)")
        try folder.make()
    }

    deinit { try? Folder.removeTree(folder.path) }

    private func limits(_ byteCountMax: Int?) -> UploadLimits {
        var limits = UploadLimits()
        limits.totalByteCountMax = byteCountMax
        return limits
    }

    private func room(_ limits: UploadLimits) -> DatasetRoom {
        DatasetRoom(folder, limits, DatasetCatalogue(folder: folder.datasets))
    }

    @Test("is promised once, whoever asks at once; what is written counts once")
    func promises() throws {
        let room = room(limits(3500))
        let got = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 16) { index in
            do throws(DataError) {
                try room.claim(1000, for: "dst_\(index)")
                got.withLock { $0.append("dst_\(index)") }
            } catch {
                guard case .noRoom = error else {
                    Issue.record("\(error)")
                    return
                }
            }
        }
        let claimed = got.withLock { $0 }
        #expect(claimed.count == 3)
        #expect(throws: JobError.self) { try room.announce(501) }
        let staging = "\(folder.datasets)/.import-\(claimed[0])"
        try Folder.make(staging)
        try AtomicFile.write([UInt8](repeating: 0, count: 900), to: "\(staging)/images")
        try room.announce(500)
        #expect(throws: DataError.self) { try room.claim(1, for: "dst_more") }
        room.withdraw(500)
        room.release(claimed[1])
        try room.claim(1500, for: "dst_more")
        #expect(throws: JobError.self) { try room.check(1) }
    }

    @Test("ends where the disk is to stay free")
    func floor() throws {
        var limits = limits(nil)
        limits.freeByteCountMin = try Folder.space(at: folder.path).free
        let room = room(limits)
        #expect(throws: DataError.self) { try room.claim(1 << 30, for: "dst_floor") }
        #expect(throws: JobError.self) { try room.announce(.max) }
    }
}
