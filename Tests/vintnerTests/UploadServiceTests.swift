import Data
import Files
import Foundation
import JSON
import Jobs
import Store
import Synchronization
import Testing
import Threads

@testable import vintner

@Suite("Uploads") struct UploadServiceTests {
    @Test("become datasets that jobs can name, and leave nothing else")
    func publish() throws {
        let dock = try Dock()
        let service = dock.service()
        let id = try Dock.open(service)
        let (file, isNew) = try Dock.put(service, id, "../play.txt", Dock.text)
        #expect(isNew && file.sha256 == SHA256.digest(of: Dock.text).hex)
        #expect(!file.path.contains("play"), "what clients call a file is no part of a path")
        #expect(try dock.repository.files(of: id).map(\.name) == ["../play.txt"])
        #expect(try dock.catalogue.list().isEmpty)
        let record = try Dock.commit(service, id)
        #expect(record.isReady && record.format == "text" && record.path == "datasets/\(id)")
        let info = try dock.catalogue.info("play")
        #expect(info.id == id.rawValue && info.sha256 == record.sha256 && info.format == "text")
        #expect(try Folder.names(in: dock.folder.absolute(record.path)) == ["dataset.json", "train.txt"])
        #expect(try dock.uploaded().isEmpty && Folder.names(in: dock.folder.uploads).isEmpty)
        #expect(throws: JobError.datasetReady(id)) { try Dock.put(service, id, "a", [1]) }
        #expect(try Dock.commit(service, id) == record, "once more is no harm")
    }

    @Test("take a file again in the place of the one before, and never half of one")
    func replace() throws {
        let dock = try Dock()
        let service = dock.service()
        let id = try Dock.open(service)
        let first = try Dock.put(service, id, "train.txt", Dock.text)
        let same = try Dock.put(
            service, id, "train.txt", Dock.text, sha256: SHA256.digest(of: Dock.text).bytes)
        #expect(!same.isNew && same.file.sha256 == first.file.sha256)
        let error = #expect(throws: JobError.self) {
            try Dock.put(service, id, "train.txt", [1], sha256: Array(repeating: 0, count: 32))
        }
        #expect(error?.code == "digest_mismatch")
        let half = try service.receive("train.txt", for: id.rawValue, byteCount: 2000)
        try half.take(Dock.text)
        #expect(throws: JobError.self) { try service.commit(id.rawValue) }
        #expect(throws: JobError.self) { try service.delete(id.rawValue, mayDeleteReady: false) }
        half.abandon()
        half.abandon()
        #expect(try dock.repository.files(of: id) == [same.file])
        #expect(try dock.uploaded() == [String(same.file.path.dropFirst("uploads/".count))])
        #expect(try Dock.commit(service, id).isReady)
    }

    @Test("say what is wrong with which file, and stay open to be mended")
    func violations() throws {
        let dock = try Dock()
        let service = dock.service()
        let id = try Dock.open(service, "pictures", "npy")
        func faults() throws -> [String] {
            let error = #expect(throws: JobError.self) { try Dock.commit(service, id) }
            guard case .invalid(let violations)? = error else { return [] }
            return violations.map { "\($0.pointer) \($0.code)" }
        }
        #expect(try faults() == Array(repeating: "/files missing_file", count: 4))
        for name in ["x_train", "y_train", "x_test", "y_test"] {
            _ = try Dock.put(service, id, "\(name).npy", Array("nothing".utf8))
        }
        #expect(
            try Set(faults())
                == Set(["x_train", "y_train", "x_test", "y_test"].map { "/files/\($0).npy malformed_file" }))
        #expect(try dock.repository.dataset(id.rawValue).isReady == false)
        #expect(try dock.uploaded().count == 4 && Folder.names(in: dock.folder.datasets).isEmpty)
        try service.delete("pictures", mayDeleteReady: false)
        #expect(try dock.uploaded().isEmpty)
        #expect(throws: JobError.datasetNotFound(id.rawValue)) { try Dock.commit(service, id) }
    }

    @Test("have their limits")
    func limits() throws {
        let dock = try Dock()
        var limits = UploadLimits()
        (limits.fileByteCountMax, limits.filesMax, limits.openMax, limits.receivingMax) = (1000, 2, 2, 2)
        limits.totalByteCountMax = 1500
        let service = dock.service(limits)
        let id = try Dock.open(service)
        #expect(throws: JobError.nameTaken("play")) { try Dock.open(service) }
        _ = try Dock.open(service, "second")
        #expect(throws: JobError.tooManyUploads(limit: 2)) { try Dock.open(service, "third") }
        #expect(throws: JobError.fileTooLarge(limit: 1000)) {
            try service.receive("a", for: id.rawValue, byteCount: 1001)
        }
        let unknown = try service.receive("a", for: id.rawValue, byteCount: nil)
        #expect(throws: JobError.fileTooLarge(limit: 1000)) {
            try unknown.take([UInt8](repeating: 0, count: 1001))
        }
        let other = try service.receive("b", for: id.rawValue, byteCount: 900)
        #expect(throws: JobError.uploadsBusy(limit: 2)) {
            try service.receive("c", for: id.rawValue, byteCount: 1)
        }
        unknown.abandon()
        let error = #expect(throws: JobError.self) {
            try service.receive("c", for: id.rawValue, byteCount: 700)
        }
        #expect(error?.code == "insufficient_storage", "what is announced counts")
        other.abandon()
        for name in ["a", "b"] { _ = try Dock.put(service, id, name, [1, 2]) }
        #expect(throws: JobError.self) { try Dock.put(service, id, "c", [1]) }
        for name in ["", String(repeating: "n", count: 256)] {
            #expect(throws: JobError.self) { try service.receive(name, for: id.rawValue, byteCount: 1) }
        }
        for body: JSONValue in [
            ["name": "../up", "format": "idx"], ["name": "a", "format": "pickle"], ["format": "idx"],
            ["name": "a", "format": "text", "tokens": "word"], ["name": "a", "format": "idx", "more": 1],
        ] {
            #expect(throws: JobError.self) { try service.open(body) }
        }
    }

    /// Arrays of NumPy of 20 + 10 images, as many bytes as the files that they become.
    private func putArrays(_ service: UploadService, _ id: DatasetID) throws {
        for (name, shape) in [
            ("x_train", [20, 32, 32]), ("y_train", [20]), ("x_test", [10, 32, 32]), ("y_test", [10]),
        ] {
            let extents = shape.map { "\($0)," }.joined(separator: " ")
            let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (\(extents)), }\n"
            let content = [UInt8](repeating: 1, count: shape.reduce(1, *))
            let start = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count), 0]
            _ = try Dock.put(service, id, "\(name).npy", start + Array(header.utf8) + content)
        }
    }

    @Test("are refused at the commit where the files that they become have no room, and stay open")
    func roomForFiles() throws {
        let dock = try Dock()
        var limits = UploadLimits()
        limits.totalByteCountMax = 50_000
        let service = dock.service(limits)
        let id = try Dock.open(service, "pictures", "npy")
        try putArrays(service, id)
        let error = #expect(throws: JobError.self) { try Dock.commit(service, id) }
        #expect(error?.code == "insufficient_storage")
        #expect(error?.description.contains("may take 50000 bytes") == true, "\(String(describing: error))")
        #expect(try Folder.names(in: dock.folder.datasets).isEmpty)
        #expect(try dock.repository.dataset(id.rawValue).isReady == false && dock.uploaded().count == 4)
        limits.totalByteCountMax = 70_000
        #expect(try Dock.commit(dock.service(limits), id).isReady, "what failed has kept nothing")
        let (used, uploaded) = (
            try Folder.byteCount(of: dock.folder.datasets), try Folder.byteCount(of: dock.folder.uploads)
        )
        #expect(used > 30_000 && uploaded == 0)
    }

    @Test("wait for their check where others take the memory, and are refused where there never is enough")
    func memory() throws {
        let dock = try Dock()
        var limits = UploadLimits()
        limits.memoryByteCount = DatasetFormat.text(.init()).checkingByteCount(ofFiles: [Dock.text.count])
        let service = dock.service(limits)
        let ids = try (0..<6).map { try Dock.open(service, "play-\($0)") }
        for id in ids { _ = try Dock.put(service, id, "train.txt", Dock.text) }
        let all = try ids.map { try service.commit($0.rawValue) }
        let deadline = ContinuousClock.now + .seconds(60)
        while all.contains(where: { $0.outcome == nil }), ContinuousClock.now < deadline {
            Thread.sleep(forTimeInterval: 0.01)
        }
        for pending in all { #expect(try pending.outcome?.get().isReady == true) }
        let large = try Dock.open(service, "large")
        _ = try Dock.put(service, large, "train.txt", Dock.text + Dock.text)
        let error = #expect(throws: JobError.self) { try Dock.commit(service, large) }
        guard case .invalid(let violations)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(violations.map { "\($0.pointer) \($0.code)" } == ["/files insufficient_memory"])
    }

    @Test("that an earlier process left are put in order, and those that nobody goes on with are swept")
    func recovery() throws {
        let dock = try Dock()
        let service = dock.service()
        let id = try Dock.open(service)
        let kept = try Dock.put(service, id, "train.txt", Dock.text).file
        let lost = try Dock.put(service, id, "test.txt", Dock.text).file
        let place = dock.folder.absolute(DataFolder.uploads(of: id))
        try AtomicFile.write("orphan", to: "\(place)/0123456789abcdef")
        try AtomicFile.write("half", to: "\(place)/.0123.4567.tmp")
        try Folder.removeFile(dock.folder.absolute(lost.path))
        try Folder.make(dock.folder.absolute("uploads/somebody"))
        let next = dock.service()
        try next.recover()
        #expect(try dock.uploaded() == [String(kept.path.dropFirst("uploads/".count))])
        #expect(try Folder.names(in: dock.folder.uploads) == [id.rawValue])
        #expect(try dock.repository.files(of: id) == [kept])
        dock.clock.seconds.withLock { $0 += 86_000 }
        _ = try Dock.put(next, id, "test.txt", Dock.text)
        dock.clock.seconds.withLock { $0 += 86_000 }
        next.sweep()
        #expect(try dock.repository.files(of: id).count == 2, "something came for it meanwhile")
        dock.clock.seconds.withLock { $0 += 1000 }
        next.sweep()
        #expect(throws: JobError.datasetNotFound("play")) { try dock.repository.dataset("play") }
        #expect(try Folder.names(in: dock.folder.uploads).isEmpty)
    }

    @Test("are no part of a backup, and the doctor finds what is wrong with them")
    func care() throws {
        let patient = try Patient()
        let id = try patient.withDatabase { database in
            let repository = SQLiteDatasetRepository(database)
            let id: DatasetID = database.identifiers.next(at: StoppedTime.start)
            let path = "\(DataFolder.uploads(of: id))/0123456789abcdef"
            try repository.open(
                DatasetRecord(
                    id: id, name: "open", format: "idx", isReady: false, path: "datasets/\(id)", sha256: "",
                    createdAt: StoppedTime.start, details: [:]), openMax: 1)
            _ = try repository.put(
                DatasetFile(
                    name: "a", path: path, byteCount: 5, sha256: SHA256.digest(of: Array("bytes".utf8)).hex,
                    createdAt: StoppedTime.start), of: id, filesMax: 1)
            return id
        }
        let place = DataFolder.uploads(of: id)
        #expect(try patient.findings().map(\.place) == ["\(place)/0123456789abcdef"])
        try patient.write("bytes", to: "\(place)/0123456789abcdef")
        #expect(try patient.findings().isEmpty)
        let target = "\(patient.home)/copy"
        var backup = try Backup(of: patient.folder, to: target, time: StoppedTime())
        try backup.make(includesFiles: true)
        let copy = DataFolder(path: target)
        let database = try SQLiteDatabase(path: copy.database, migrations: DataFolder.migrations)
        #expect(try SQLiteDatasetRepository(database).openUploads().isEmpty)
        #expect(try Folder.names(in: copy.uploads).isEmpty)
        try database.close()
        try patient.write("half", to: "\(place)/.a.b.tmp")
        try patient.write("nobody's", to: "\(place)/fedcba9876543210")
        #expect(
            try patient.findings().map(\.place).sorted() == [
                "\(place)/.a.b.tmp", "\(place)/fedcba9876543210",
            ])
        _ = try patient.treat()
        #expect(try patient.findings().isEmpty)
    }
}
