import Files
import Foundation
import Synchronization
import Threads

/// Looks whether the data folder is still where it was when it was locked.
///
/// Where it was moved or deleted, files would come to lie in another folder of its name than the database
/// that names them, which the server still has open.
final class FolderWatch: Sendable {
    private static let periodNanoseconds: UInt64 = 1_000_000_000

    private let lock: FolderLock
    private let bell = Bell()
    private let isStopping = Mutex(false)

    init(_ lock: FolderLock) { self.lock = lock }

    /// Starts a thread that calls `onLoss` once the folder is gone.
    func start(onLoss: @escaping @Sendable () -> Void) {
        Thread.detachNewThread { [self] in
            while true {
                let ring = bell.ring
                guard !isStopping.withLock({ $0 }) else { return }
                guard lock.isInPlace else { return onLoss() }
                bell.wait(after: ring, nanoseconds: Self.periodNanoseconds)
            }
        }
    }

    /// Ends the thread.
    func stop() {
        isStopping.withLock { $0 = true }
        bell.strike()
    }
}
