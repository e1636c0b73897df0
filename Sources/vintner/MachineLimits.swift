import Foundation
import Jobs
import Kernels
import Plan
import Synchronization
import Tensor
import Threads
import Training

/// What this machine can do at the most, by threads and element type; measured when first asked for.
final class MachineLimits: Sendable {
    private struct Key: Hashable {
        let threads: Int
        let element: ElementType
    }

    private let time: any TimeSource
    private let known = Mutex<[Key: Roofline]>([:])

    init(time: any TimeSource = SystemTime()) { self.time = time }

    /// The limits, measured on the calling thread's team unless they are known.
    func roofline(threads: Int, _ element: ElementType) throws(PlanError) -> Roofline {
        let key = Key(threads: threads, element: element)
        if let roof = known.withLock({ $0[key] }) { return roof }
        ThreadTeam.use(threads)
        let measured = try PeakMeasurement.roofline(element) { time.monotonicNanoseconds() }
        return known.withLock { known in
            // One measurement may have met a busy machine.
            var best = measured
            best.flopsPerSecond = max(best.flopsPerSecond, known[key]?.flopsPerSecond ?? 0)
            known[key] = best
            return best
        }
    }

    /// The same for a thread that is to have no team of its own, such as one that answers requests.
    func rooflineElsewhere(threads: Int, _ element: ElementType) throws(PlanError) -> Roofline {
        if let roof = known.withLock({ $0[Key(threads: threads, element: element)] }) { return roof }
        let answer = Answer()
        Thread.detachNewThread { [self] in
            let result: Result<Roofline, PlanError>
            do throws(PlanError) { result = .success(try roofline(threads: threads, element)) } catch {
                result = .failure(error)
            }
            answer.result.withLock { $0 = result }
            answer.bell.strike()
        }
        answer.bell.wait(after: 0)
        return try (answer.result.withLock { $0 } ?? .failure(.tooLarge)).get()
    }

    /// What the measuring thread leaves for the waiting one.
    private final class Answer: Sendable {
        let bell = Bell()
        let result = Mutex<Result<Roofline, PlanError>?>(nil)
    }
}
