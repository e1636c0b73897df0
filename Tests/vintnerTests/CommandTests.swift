import Files
import Foundation
import JSON
import Jobs
import Store
import Testing

@testable import vintner

@Suite("Commands") struct CommandTests {
    @Test("show a job's progress on one line")
    func progressLine() {
        let job: JSONValue = [
            "state": "running",
            "progress": [
                "fraction": 0.629, "epoch": 4, "epochs": 5, "step": 2908, "steps": 4690,
                "samples_per_second": 11234.6, "eta_seconds": 69.4,
            ],
            "summary": ["train_loss": ["last": 0.24114]],
        ]
        #expect(
            ProgressLine.text(job)
                == "running  62 %  epoch 4/5  step 2908/4690  11234 samples/s  loss 0.2411  ETA 1:09")
        #expect(
            ProgressLine.text(["state": "queued", "waiting_for": ["message": "two cores"]])
                == "queued  two cores")
    }

    @Test("divide the memory between jobs and predictions, and give all of it to a job that runs alone")
    func memory() {
        func configuration(_ answersPredictions: Bool) -> ServiceConfiguration {
            ServiceConfiguration(
                data: "", workers: .value(1), threads: .value(1), memory: .value(1000),
                answersPredictions: answersPredictions)
        }
        let (service, alone) = (configuration(true), configuration(false))
        #expect(service.budget.memoryBytes == 875 && service.predictionByteCount == 125)
        #expect(alone.budget.memoryBytes == 1000 && alone.predictionByteCount == 0)
    }

    @Test("write durations as people read them", arguments: [(9.4, "0:09"), (3723, "1:02:03"), (-5, "0:00")])
    func clock(seconds: Double, text: String) { #expect(ProgressLine.clock(seconds) == text) }

    @Test("end by what became of the job")
    func endings() {
        #expect(Epilogue.ending("succeeded", verdict: "passed") == .ok)
        #expect(Epilogue.ending("succeeded", verdict: "gate_failed") == .gateFailed)
        #expect(Epilogue.ending("failed", verdict: "job_failed") == .failed)
        #expect(Epilogue.ending("cancelled", verdict: "job_cancelled") == .cancelled)
    }

    @Test("take addresses apart, and refuse what is none")
    func addresses() throws {
        let plain = try APIClient("http://127.0.0.1:8080/", token: nil)
        #expect(plain.endpoint == .network(host: "127.0.0.1", port: 8080, isEncrypted: false))
        let six = try APIClient("http://[::1]:81", token: nil)
        #expect(six.endpoint == .network(host: "::1", port: 81, isEncrypted: false))
        #expect(six.endpoint.name == "[::1]:81")
        for (address, host, port) in [
            ("https://a:1", "a", 1), ("https://a.b/", "a.b", 443), ("https://[::1]", "::1", 443),
        ] {
            let client = try APIClient(address, token: nil)
            #expect(client.endpoint == .network(host: host, port: port, isEncrypted: true))
        }
        #expect(APIClient(unixSocket: "/run/v", token: nil).endpoint.name == "localhost")
        for wrong in [
            "https://", "https://a/x", "https://a@b", "ftp://a:1", "http://a", "http://a:0", "http://a:70000",
            "http://a:1/x", "a:1",
        ] {
            #expect(throws: ClientError.self) { try APIClient(wrong, token: nil) }
        }
    }

    @Test("never put what is no id into a request")
    func segments() throws {
        #expect(try segment("job_01abc") == "job_01abc")
        for wrong in ["", "a/b", "..", "a b", "a%2f", "a\r\nX: y"] {
            #expect(throws: ClientError.self) { try segment(wrong) }
        }
    }

    @Test("name every violation of a refused body")
    func refusal() {
        let error = ClientError.refused(
            status: 422,
            ["detail": "2 fields are wrong.", "errors": [["pointer": "/train/epochs", "detail": "too few"]]])
        #expect(error.description == "422: 2 fields are wrong.\n  /train/epochs: too few")
    }
}

@Suite("The data folder") struct DataFolderTests {
    private func makeFolder() throws -> DataFolder {
        let folder = DataFolder(path: "\(NSTemporaryDirectory())/vintner-test-\(UUID().uuidString)")
        try folder.make()
        return folder
    }

    @Test("makes one token, for its owner alone, and keeps it")
    func token() throws {
        let folder = try makeFolder()
        defer { try? Folder.removeTree(folder.path) }
        let first = try folder.readOrMakeToken()
        #expect(first.isNew && first.token.count == 64)
        let second = try folder.readOrMakeToken()
        #expect(!second.isNew && second.token == first.token)
        let mode = try FileManager.default.attributesOfItem(atPath: folder.token)[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }

    @Test(
        "has no token when its file is blank or cut off, and says what to do",
        arguments: ["", "\n", " secret\n", "a\n", "0123456789abcdef0123456789abcde\n"])
    func blankToken(content: String) throws {
        let folder = try makeFolder()
        defer { try? Folder.removeTree(folder.path) }
        try AtomicFile.write(Array(content.utf8), to: folder.token)
        let error = #expect(throws: FileError.self) { try folder.readOrMakeToken() }
        #expect(error?.description.contains("delete it, and the next start makes a new one.") == true)
        #expect(try readFile(folder.token, limit: 100) == Array(content.utf8))
    }

    @Test("is cleaned of what no record names, and of nothing else")
    func cleaning() throws {
        let folder = try makeFolder()
        defer { try? Folder.removeTree(folder.path) }
        let made = IdentifierGenerator()
        let jobs = (0..<2).map { made.next(at: Timestamp(milliseconds: $0)) as JobID }
        let models = (0..<2).map { made.next(at: Timestamp(milliseconds: $0)) as ModelID }
        for path in ["jobs/\(jobs[0])/sub", "jobs/\(jobs[1])", "models/\(models[0])", "models/\(models[1])"] {
            try Folder.make(folder.absolute(path))
        }
        let kept = ["jobs/\(jobs[0])/last-10.1.safetensors", "models/\(models[0])/model.safetensors"]
        let foreign = [
            "jobs/.DS_Store", "jobs/\(jobs[0])/notes.txt", "jobs/\(jobs[0])/sub/x", "models/readme",
        ]
        let orphans = [
            "jobs/\(jobs[0])/last-5.1.safetensors", "jobs/\(jobs[1])/best-1.1.safetensors",
            "models/\(models[1])/x",
        ]
        for path in kept + orphans + foreign { try AtomicFile.write([1], to: folder.absolute(path)) }
        let cleaning = try folder.clean(keeping: Set(kept), notesOf: [])
        for path in kept + foreign { #expect(Folder.status(of: folder.absolute(path)) != nil) }
        for path in orphans { #expect(Folder.status(of: folder.absolute(path)) == nil) }
        #expect(Folder.status(of: folder.absolute("jobs/\(jobs[1])")) == nil)
        #expect(cleaning.removed.sorted() == [orphans[0], "jobs/\(jobs[1])", "models/\(models[1])"].sorted())
        let left = ["jobs/.DS_Store", "jobs/\(jobs[0])/notes.txt", "jobs/\(jobs[0])/sub", "models/readme"]
        #expect(cleaning.unfamiliar.sorted() == left.sorted())
    }

    @Test("tells by its jobs and models that there was a database")
    func trace() throws {
        let folder = try makeFolder()
        defer { try? Folder.removeTree(folder.path) }
        try Folder.make(folder.absolute("models/readme"))
        #expect(try folder.trace() == nil)
        let place = "models/\(IdentifierGenerator().next(at: Timestamp(milliseconds: 1)) as ModelID)"
        try Folder.make(folder.absolute(place))
        #expect(try folder.trace() == place)
        let refusal = StoreError.lost(path: folder.database, trace: place)
        for content in [nil, ""] as [String?] {
            if let content { try AtomicFile.write(Array(content.utf8), to: folder.database) }
            #expect(throws: refusal) {
                try SQLiteDatabase(path: folder.database, migrations: DataFolder.migrations, trace: place)
            }
            #expect(Folder.status(of: folder.absolute(place)) != nil)
        }
    }
}
