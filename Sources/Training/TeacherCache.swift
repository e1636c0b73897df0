internal import Data
internal import Files
internal import Plan
internal import Tensor

/// A teacher's outputs for every training sample, in memory or in a file.
///
/// It is filled once, in the samples' order and by batches that do not depend on the run's: so an interrupted
/// run, which fills it again, sees the same bits.
final class TeacherCache {
    private enum Rows {
        case memory(Arena)
        case file(FileReader)
    }

    private let rows: Rows
    private let rowByteCount: Int
    /// The row of each sample, by its index in the split.
    private let ranks: [Int32]
    /// Before the rows of a file stands whose they are, and behind them their hash.
    private static let digestByteCount = 32

    private init(_ rows: Rows, rowByteCount: Int, samples: [UInt32]) {
        (self.rows, self.rowByteCount, ranks) = (rows, rowByteCount, Self.ranks(of: samples))
    }

    private static func ranks(of samples: [UInt32]) -> [Int32] {
        var ranks = [Int32](repeating: 0, count: Int(samples.max() ?? 0) + 1)
        for (rank, sample) in samples.enumerated() { ranks[Int(sample)] = Int32(rank) }
        return ranks
    }

    /// Copies the rows of samples one after the other into a slot of that size.
    func copy(_ samples: ArraySlice<UInt32>, to slot: Slot, in arena: Arena) throws(TrainingError) {
        var offset = slot.offset
        for sample in samples {
            let target = Slot(offset: offset, byteCount: rowByteCount)
            let start = Int(ranks[Int(sample)]) * rowByteCount
            switch rows {
            case .memory(let memory):
                arena.copy(Slot(offset: start, byteCount: rowByteCount), of: memory, to: target)
            case .file(let file):
                let bytes = try Self.files { () throws(FileError) in
                    try file.read(rowByteCount, at: Self.digestByteCount + start)
                }
                guard bytes.count == rowByteCount else {
                    throw .badTeacher(path: file.path, reason: "its outputs on disk have been cut short")
                }
                arena.write(bytes, to: target)
            }
            offset = target.end
        }
    }

    /// A cache that is being filled.
    struct Builder {
        private enum Sink {
            case memory(Arena)
            case file(AtomicFile.Writer)
        }

        private let sink: Sink
        private let samples: [UInt32]
        private let rowByteCount: Int
        private var filled = 0
        private var hash = SHA256()

        /// In memory for the samples in this order.
        init(inMemoryOf samples: [UInt32], rowByteCount: Int) throws(TrainingError) {
            let byteCount = samples.count * rowByteCount
            do { sink = .memory(try Arena(byteCount: byteCount)) } catch {
                throw .plan(.noMemory(byteCount: byteCount))
            }
            (self.samples, self.rowByteCount) = (samples, rowByteCount)
        }

        /// In a file, which appears when it is complete.
        init(
            file path: String, of samples: [UInt32], rowByteCount: Int, fingerprint: SHA256.Digest
        ) throws(TrainingError) {
            sink = try TeacherCache.files { () throws(FileError) in
                let writer = try AtomicFile.Writer(path)
                try writer.write(fingerprint.bytes)
                return .file(writer)
            }
            (self.samples, self.rowByteCount) = (samples, rowByteCount)
        }

        /// Takes the next samples' rows.
        mutating func append(_ place: Place) throws(TrainingError) {
            switch sink {
            case .memory(let memory):
                memory.copy(
                    place.slot, of: place.arena,
                    to: Slot(offset: filled, byteCount: place.slot.byteCount))
            case .file(let writer):
                let bytes = place.arena.read(place.slot, as: UInt8.self)
                hash.update(bytes)
                try TeacherCache.files { () throws(FileError) in try writer.write(bytes) }
            }
            filled += place.slot.byteCount
        }

        /// The cache, once it has all rows.
        func finish() throws(TrainingError) -> TeacherCache {
            precondition(filled == samples.count * rowByteCount, "a cache of \(filled) bytes")
            let rows: Rows =
                switch sink {
                case .memory(let memory): .memory(memory)
                case .file(let writer):
                    try TeacherCache.files { () throws(FileError) in
                        try writer.write(hash.digest().bytes)
                        _ = try writer.commit()
                        return .file(try FileReader(writer.path))
                    }
                }
            return TeacherCache(rows, rowByteCount: rowByteCount, samples: samples)
        }
    }

    /// What an earlier attempt left in a file; nil where there is none, or another's, or a damaged one.
    init?(
        file path: String, of samples: [UInt32], rowByteCount: Int, fingerprint: SHA256.Digest
    ) {
        let byteCount = samples.count * rowByteCount
        guard let file = try? FileReader(path),
            (try? file.byteCount()) == byteCount + 2 * Self.digestByteCount,
            (try? file.readFully(Self.digestByteCount)) == fingerprint.bytes
        else { return nil }
        var hash = SHA256()
        var left = byteCount
        while left > 0 {
            guard let bytes = try? file.readFully(min(left, 1 << 20)) else { return nil }
            hash.update(bytes)
            left -= bytes.count
        }
        guard (try? file.readFully(Self.digestByteCount)) == hash.digest().bytes else { return nil }
        rows = .file(file)
        self.rowByteCount = rowByteCount
        ranks = Self.ranks(of: samples)
    }

    fileprivate static func files<R>(_ body: () throws(FileError) -> R) throws(TrainingError) -> R {
        do { return try body() } catch { throw .file(error) }
    }
}
