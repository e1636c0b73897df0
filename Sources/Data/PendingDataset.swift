import Threads

/// A dataset that a background thread is decoding.
public final class PendingDataset: Sendable {
    private let outcome = Monitor<Result<Dataset, DataError>?>(nil)

    init() {}

    /// Waits until it is decoded.
    ///
    /// - Throws: What decoding threw.
    public func wait() throws(DataError) -> Dataset { try outcome.wait { $0 }.value.get() }

    /// The same, calling `tend` about once a second meanwhile.
    public func wait(tending tend: () -> Void) throws(DataError) -> Dataset {
        while !outcome.wait(seconds: 1, until: { $0 != nil }) { tend() }
        return try wait()
    }

    func finish(_ result: Result<Dataset, DataError>) { outcome.update { $0 = result } }
}
