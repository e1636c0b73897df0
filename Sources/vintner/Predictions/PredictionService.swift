import Foundation
import JSON
import Jobs
import Kernels
import Logging
import Synchronization
import Threads
import Training

/// Answers predictions one after the other, on a thread of its own.
///
/// It takes one core from running jobs at most, and starts with the first request.
final class PredictionService: ModelPredictor {
    private struct Order: Sendable {
        /// As it came: what it says takes many times the memory.
        let body: [UInt8]
        let model: ModelRecord
        let prediction: Prediction
        let deadline: UInt64
    }

    private struct State {
        var orders: [Order] = []
        var isStarted = false
        var isStopped = false

        func hasRoom(for body: [UInt8]) -> Bool {
            orders.count < PredictionService.waitingMax
                && orders.reduce(body.count) { $0 + $1.body.count } <= PredictionService.waitingByteCountMax
        }
    }

    private let folder: DataFolder
    /// What all loaded models together may take.
    private let byteCountMax: Int
    private let time: any TimeSource
    private let log: Logger
    private let state = Mutex(State())
    /// How often something was added to `orders`, or all was stopped, since the thread last took one.
    private let available = Monitor(0)
    private let hasEnded = Monitor(false)

    /// Requests that may wait, and the bytes of all of them.
    static let waitingMax = 32
    static let waitingByteCountMax = 32 << 20
    /// Memory is given back after bodies longer than this.
    private static let shortByteCount = 1 << 20
    /// Seconds from a request to its answer at most.
    static let secondsMax = 60.0
    /// Models that stay loaded.
    static let modelsMax = 2
    /// Seconds without a request after which no model stays loaded.
    static let idleSeconds = 300.0

    init(folder: DataFolder, byteCountMax: Int, time: any TimeSource, log: Logger) {
        (self.folder, self.byteCountMax, self.time, self.log) = (folder, byteCountMax, time, log)
    }

    var bodySchema: JSONValue { PredictionRequest.jsonSchema }

    func predict(_ body: [UInt8], with model: ModelRecord) -> Prediction {
        let prediction = Prediction()
        let deadline = time.monotonicNanoseconds() + UInt64(Self.secondsMax * 1e9)
        let order = Order(body: body, model: model, prediction: prediction, deadline: deadline)
        let (refusal, mustStart) = state.withLock { state -> (PredictionError?, Bool) in
            guard !state.isStopped else { return (.draining, false) }
            if !state.hasRoom(for: body) {
                // Who has gone needs no place.
                state.orders.removeAll { $0.prediction.isAbandoned }
            }
            guard state.hasRoom(for: body) else { return (.busy, false) }
            state.orders.append(order)
            defer { state.isStarted = true }
            return (nil, !state.isStarted)
        }
        if let refusal {
            prediction.finish(.failure(refusal))
            return prediction
        }
        available.update { $0 += 1 }
        if mustStart { Thread.detachNewThread { [self] in work() } }
        return prediction
    }

    /// Refuses what waits, and ends the thread after its present token or batch.
    func stop(seconds: Double) {
        let (waiting, mustWait) = state.withLock { state in
            defer { (state.orders, state.isStopped) = ([], true) }
            return (state.orders, state.isStarted && !state.isStopped)
        }
        for order in waiting { order.prediction.finish(.failure(.draining)) }
        available.update { $0 += 1 }
        if mustWait { hasEnded.wait(seconds: seconds) { $0 } }
    }

    private func work() {
        ThreadTeam.use(1)
        var shelf = Shelf()
        while true {
            let hasNews = available.wait(seconds: shelf.isEmpty ? 3600 : Self.idleSeconds) { $0 > 0 }
            if hasNews {
                available.update { $0 -= 1 }
            } else if !shelf.isEmpty {
                shelf = Shelf()
                Heap.trim()
            }
            let (order, isStopped) = state.withLock { state in
                (state.orders.isEmpty ? nil : state.orders.removeFirst(), state.isStopped)
            }
            if isStopped {
                order?.prediction.finish(.failure(.draining))
                break
            }
            guard let order else { continue }
            answer(order, &shelf)
            if order.body.count > Self.shortByteCount { Heap.trim() }
        }
        hasEnded.update { $0 = true }
    }

    private func answer(_ order: Order, _ shelf: inout Shelf) {
        let start = time.monotonicNanoseconds()
        do throws(PredictionError) {
            guard start <= order.deadline, !order.prediction.isAbandoned else {
                throw .tooSlow(seconds: Self.secondsMax)
            }
            let body: JSONValue
            do { body = try JSONValue(parsing: order.body) } catch { throw .malformed(reason: "\(error)") }
            let predictor = try predictor(for: order.model, &shelf)
            let request: PredictionRequest
            do { request = try PredictionRequest.read(body, for: predictor.stored) } catch {
                throw .invalid(error.violations)
            }
            let result: PredictionResult?
            do {
                result = try predictor.answer(request) {
                    order.prediction.isAbandoned || time.monotonicNanoseconds() > order.deadline
                        || state.withLock { $0.isStopped }
                }
            } catch { throw refusal(error, order.model) }
            guard let result else {
                throw state.withLock { $0.isStopped } ? .draining : .tooSlow(seconds: Self.secondsMax)
            }
            let seconds = Double(time.monotonicNanoseconds() - start) * 1e-9
            order.prediction.finish(.success(result.json(seconds: seconds)))
        } catch { order.prediction.finish(.failure(error)) }
    }

    /// The loaded model, most recently used last; loading one makes room for it first.
    private func predictor(
        for model: ModelRecord, _ shelf: inout Shelf
    ) throws(PredictionError) -> Predictor {
        if let known = shelf.take(model.sha256) {
            shelf.put(known, model.sha256)
            return known
        }
        do throws(TrainingError) {
            let stored = try StoredModel(folder.absolute(model.path), sha256: model.sha256)
            while true {
                do throws(TrainingError) {
                    let made = try Predictor(stored, byteCountMax: byteCountMax - shelf.byteCount)
                    shelf.put(made, model.sha256)
                    return made
                } catch {
                    guard case .modelTooLarge = error, shelf.dropOldest() else { throw error }
                }
            }
        } catch { throw refusal(error, model) }
    }

    private func refusal(_ error: TrainingError, _ model: ModelRecord) -> PredictionError {
        if case .modelTooLarge(let byteCount, _) = error {
            return .modelTooLarge(model.id, byteCount: byteCount, limit: byteCountMax)
        }
        log.error("a model could not be used", metadata: ["model": "\(model.id)", "cause": "\(error)"])
        return .modelUnusable(model.id, cause: error.description)
    }

    /// The models that stay loaded, by the hashes of their files.
    private struct Shelf {
        private var models: [(sha256: String, predictor: Predictor)] = []

        var isEmpty: Bool { models.isEmpty }
        var byteCount: Int { models.reduce(0) { $0 + $1.predictor.byteCount } }

        mutating func take(_ sha256: String) -> Predictor? {
            guard let index = models.firstIndex(where: { $0.sha256 == sha256 }) else { return nil }
            return models.remove(at: index).predictor
        }

        mutating func put(_ predictor: Predictor, _ sha256: String) {
            if models.count >= PredictionService.modelsMax { models.removeFirst() }
            models.append((sha256, predictor))
        }

        /// False when there was none.
        mutating func dropOldest() -> Bool {
            guard !models.isEmpty else { return false }
            models.removeFirst()
            return true
        }
    }
}
