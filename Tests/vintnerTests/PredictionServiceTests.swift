import Data
import Dispatch
import Files
import Foundation
import Glibc
import Graph
import HTTP
import JSON
import Jobs
import Logging
import Synchronization
import Testing
import Threads
import Training

@testable import vintner

/// A clock that goes on when it is told to, or by a second with each reading of the service's own thread.
///
/// That thread waits at its first reading until the test lets it pass, so that what happens meanwhile is
/// certain.
private final class StagedClock: TimeSource {
    private struct State {
        var nanoseconds: UInt64 = 1
        var readings = 0
        var isOpen = false
    }

    private let client = pthread_self()
    private let state = Mutex(State())
    private let arrived = DispatchSemaphore(value: 0)
    private let door = DispatchSemaphore(value: 0)
    private let ticks: Bool

    init(ticks: Bool = false) { self.ticks = ticks }

    /// Readings of the service's thread.
    var readings: Int { state.withLock { $0.readings } }

    func now() -> Timestamp { Timestamp(milliseconds: 0) }

    func monotonicNanoseconds() -> UInt64 {
        guard pthread_self() != client else { return state.withLock { $0.nanoseconds } }
        let isOpen = state.withLock { state in
            state.readings += 1
            return state.isOpen
        }
        if !isOpen {
            arrived.signal()
            door.wait()
        }
        if ticks { advance(seconds: 1) }
        return state.withLock { $0.nanoseconds }
    }

    func wait(for bell: Bell, after ring: UInt64, until deadline: UInt64) {}

    func advance(seconds: UInt64) { state.withLock { $0.nanoseconds += seconds * 1_000_000_000 } }

    /// Waits until the service's thread has taken a request up.
    func waitForArrival() -> Bool { arrived.wait(timeout: .now() + 60) == .success }

    func open() {
        state.withLock { $0.isOpen = true }
        door.signal()
    }
}

@Suite("Predictions wait in a short line, and not for ever") final class PredictionServiceTests {
    private let folder: DataFolder

    init() throws {
        folder = DataFolder(path: NSTemporaryDirectory() + "vintner-predictions-" + UUID().uuidString)
        try folder.make()
    }

    deinit { try? FileManager.default.removeItem(atPath: folder.path) }

    private func service(_ clock: StagedClock) -> PredictionService {
        PredictionService(
            folder: folder, byteCountMax: 1 << 30, time: clock, log: JSONLog.logger(LogSwitch(.error)))
    }

    /// A model whose file is missing.
    private func model(path: String = "models/none.safetensors", sha256: String = "00") throws -> ModelRecord
    {
        ModelRecord(
            id: try #require(ModelID("mdl_01arz3ndektsv4rrffq69g5fav")), name: "", jobID: nil,
            createdAt: Timestamp(milliseconds: 0), architecture: .null, parameters: 0, macs: 0, path: path,
            byteCount: 0, sha256: sha256)
    }

    /// A language model with random weights.
    private func languageModel() throws -> ModelRecord {
        let catalogue = DatasetCatalogue(folder: folder.datasets, systemFolder: folder.path)
        let text = "\(folder.path)/text.txt"
        try AtomicFile.write(Array(String(repeating: "abcdefg", count: 60).utf8), to: text)
        _ = try catalogue.add("text", from: text, as: .text(.init()), id: "dst_1", now: 0)
        let request = try JobRequest.read(
            [
                "type": "train", "dataset": "text",
                "model": ["preset": "gpt", "layers": 1, "heads": 1, "width": 8, "context": 4],
            ], catalogue: catalogue, cores: 1)
        let trainer = try Trainer(
            TrainingTask(
                model: request.model, options: request.options, dataset: catalogue.load("text"), seed: 1))
        let receipt = try trainer.saveModel(
            to: folder.absolute("models/a.safetensors"),
            description: trainer.task.dataset.modelDescription)
        return try model(path: "models/a.safetensors", sha256: receipt.sha256.hex)
    }

    private func body(_ json: JSONValue) -> [UInt8] { json.encodedBytes() }

    private func outcome(of prediction: Prediction) throws -> Prediction.Outcome {
        let woken = DispatchSemaphore(value: 0)
        let leave = prediction.subscribe { woken.signal() }
        defer { leave() }
        #expect(woken.wait(timeout: .now() + 60) == .success)
        return try #require(prediction.outcome)
    }

    @Test("a full line refuses, who leaves it makes room, and who still waits at the end is told so")
    func fullLine() throws {
        let (clock, model) = (StagedClock(), try model())
        let service = service(clock)
        let first = service.predict(Array("{}".utf8), with: model)
        #expect(clock.waitForArrival())
        var waiting = (0..<PredictionService.waitingMax).map { _ in
            service.predict(Array("{}".utf8), with: model)
        }
        #expect(waiting.allSatisfy { $0.outcome == nil })
        #expect(service.predict(Array("{}".utf8), with: model).outcome == .failure(.busy))
        let leave = waiting.remove(at: 3).subscribe {}
        leave()
        waiting.append(service.predict(Array("{}".utf8), with: model))
        #expect(waiting.last?.outcome == nil)
        #expect(service.predict(Array("{}".utf8), with: model).outcome == .failure(.busy))
        service.stop(seconds: 0)
        #expect(waiting.allSatisfy { $0.outcome == .failure(.draining) })
        #expect(service.predict(Array("{}".utf8), with: model).outcome == .failure(.draining))
        clock.open()
        guard case .failure(.modelUnusable) = try outcome(of: first) else {
            Issue.record("a model without a file cannot be used")
            return
        }
    }

    @Test("long bodies fill the line by their bytes, and are read when their turn comes")
    func fullOfBytes() throws {
        let (clock, model) = (StagedClock(), try model())
        let service = service(clock)
        let first = service.predict(Array("{".utf8), with: model)
        #expect(clock.waitForArrival())
        let long = [UInt8](repeating: UInt8(ascii: "["), count: PredictionService.waitingByteCountMax / 4)
        let waiting = (0..<4).map { _ in service.predict(long, with: model) }
        #expect(waiting.allSatisfy { $0.outcome == nil })
        #expect(service.predict(Array("{}".utf8), with: model).outcome == .failure(.busy))
        let leave = waiting[1].subscribe {}
        leave()
        let short = service.predict(Array("{}".utf8), with: model)
        #expect(short.outcome == nil)
        clock.open()
        for prediction in [first, waiting[0], waiting[3]] {
            guard case .failure(.malformed) = try outcome(of: prediction) else {
                Issue.record("it is no JSON")
                continue
            }
        }
        service.stop(seconds: 60)
    }

    @Test("whose time is over while it waits is told so, and its model is not even loaded")
    func deadlineInLine() throws {
        let (clock, model) = (StagedClock(), try model())
        let service = service(clock)
        let predictions = (0..<3).map { _ in service.predict(Array("{}".utf8), with: model) }
        #expect(clock.waitForArrival())
        clock.advance(seconds: UInt64(PredictionService.secondsMax))
        let late = service.predict(Array("{}".utf8), with: model)
        clock.advance(seconds: 1)
        clock.open()
        for prediction in predictions {
            let expected = PredictionError.tooSlow(seconds: PredictionService.secondsMax)
            #expect(try outcome(of: prediction) == .failure(expected))
        }
        guard case .failure(.modelUnusable) = try outcome(of: late) else {
            Issue.record("this one was still in time")
            return
        }
        service.stop(seconds: 60)
    }

    @Test("an answer that takes too long is given up half way")
    func deadlineWhileWriting() throws {
        let (clock, model) = (StagedClock(ticks: true), try languageModel())
        let service = service(clock)
        clock.open()
        let seconds = PredictionService.secondsMax
        let short = service.predict(body(["prompt": "a", "max_tokens": 5]), with: model)
        #expect(try outcome(of: short).get()["tokens"] == 5)
        let before = clock.readings
        let long = service.predict(body(["prompt": "a", "max_tokens": 4096]), with: model)
        #expect(try outcome(of: long) == .failure(.tooSlow(seconds: seconds)))
        // A second with each token; the first reading is that of the start.
        #expect(clock.readings - before == Int(seconds) + 1)
        service.stop(seconds: 60)
    }

    @Test("nothing is computed for a client that has gone")
    func clientGone() throws {
        let (clock, model) = (StagedClock(), try languageModel())
        let service = service(clock)
        let gone = service.predict(body(["prompt": "a", "max_tokens": 4096]), with: model)
        let leave = gone.subscribe {}
        #expect(clock.waitForArrival())
        leave()
        let next = service.predict(body(["prompt": "a", "max_tokens": 3]), with: model)
        clock.open()
        #expect(try outcome(of: next).get()["tokens"] == 3)
        // The start of each, three tokens, and the end of the second.
        #expect(clock.readings == 6)
        service.stop(seconds: 60)
    }
}
