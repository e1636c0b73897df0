import Foundation
import Host
import Jobs
import Logging

extension Service {
    /// Ends the process for a job that stands still, since nothing else frees its thread.
    ///
    /// The others write their checkpoints first: they and the job itself go on in the next process, which
    /// whoever supervises this one starts.
    static func hangPolicy(seconds: Int, _ log: Logger) -> WorkerPool.HangPolicy {
        WorkerPool.HangPolicy(
            seconds: seconds,
            meter: { worker in
                var clock = ThreadGroupClock(.named(worker))
                return { clock.nanoseconds() }
            },
            end: { pool, job in
                log.critical("a job stands still; the process ends", metadata: ["job": "\(job)"])
                // The pulse, which calls this, still stores what the others report.
                Thread.detachNewThread {
                    pool.drain(milliseconds: 10_000)
                    _exit(70)
                }
            })
    }
}
