import ArgumentParser
import Host
import Jobs

/// What a service works with; read once, from the command line.
struct ServiceConfiguration: Sendable {
    /// A number, or `auto`.
    enum Amount: ExpressibleByArgument, Sendable {
        case automatic
        case value(Int)

        init?(argument: String) {
            if argument == "auto" {
                self = .automatic
            } else if let value = Self.bytes(argument), value > 0 {
                self = .value(value)
            } else {
                return nil
            }
        }

        /// As people write it.
        var defaultValueDescription: String {
            guard case .value(let value) = self else { return "auto" }
            let scales = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)]
            let scale = scales.first { value % $0.1 == 0 }
            return scale.map { "\(value / $0.1)\($0.0)" } ?? "\(value)"
        }

        /// `512`, `64K`, `4G`.
        private static func bytes(_ text: String) -> Int? {
            let scales: [Character: Int] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
            guard let last = text.last, let scale = scales[last] else { return Int(text) }
            guard let count = Int(text.dropLast()) else { return nil }
            let (product, overflow) = count.multipliedReportingOverflow(by: scale)
            return overflow ? nil : product
        }

        /// Refuses memory with which no job could run: a number that lost its unit, most likely.
        func requireMemory() throws {
            guard case .value(let value) = self, value < Self.memoryMin else { return }
            throw ValidationError(
                "--memory is in bytes unless K, M, G or T follows: \(value) is below the least, "
                    + "\(Self.value(Self.memoryMin).defaultValueDescription).")
        }

        private static let memoryMin = 64 << 10

        func resolved(_ choice: @autoclosure () -> Int) -> Int {
            switch self {
            case .automatic: choice()
            case .value(let value): value
            }
        }
    }

    let folder: DataFolder
    let workers: Int
    /// What all jobs together may take.
    let budget: Budget
    /// What all models loaded for predictions may take: a part of the memory that jobs do without.
    let predictionByteCount: Int
    /// What the disk should have left before new work begins.
    let room: DiskRoom
    /// How long an attempt may stand still.
    var hangSeconds = 60
    let host: HostFacts
    /// How much may be uploaded.
    var uploads = UploadLimits()
    /// How many jobs may wait.
    var queueLimits = QueueLimits()
    /// What is kept of jobs that are over.
    var retention = RetentionPolicy()
    /// Sends to webhooks; nil where there are none.
    var webhooks: HTTPWebhookSender?

    /// Memory that is left to the rest of the machine when the budget is chosen.
    private static let memoryShare = 0.8
    /// The part of the budget that is kept for predictions.
    private static let predictionShare = 8

    init(
        data: String, workers: Amount, threads: Amount, memory: Amount, minFree: Amount = .automatic,
        answersPredictions: Bool = true
    ) {
        host = HostFacts()
        let cores = threads.resolved(host.usableCores)
        folder = DataFolder(path: data)
        if case .value(let least) = minFree {
            room = DiskRoom(path: data, least: least)
            uploads.freeByteCountMin = least
        } else {
            room = DiskRoom(path: data, least: nil)
        }
        let bytes = memory.resolved(Int(Double(host.usableMemoryBytes) * Self.memoryShare))
        predictionByteCount = answersPredictions ? bytes / Self.predictionShare : 0
        budget = Budget(threads: cores, memoryBytes: bytes - predictionByteCount)
        // Jobs hold cores and memory, so that more workers than cores would only wait.
        self.workers = workers.resolved(cores)
        uploads.memoryByteCount = Int(host.usableMemoryBytes / 2)
    }
}
