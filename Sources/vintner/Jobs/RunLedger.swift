import Files
import JSON
import Training

/// One of the trainings that a job consists of.
struct JobTraining: Equatable {
    /// Decides its random choices.
    let seed: UInt64
    /// Whether it learns without the teachers.
    let isControl: Bool
    /// What its curves' names end in behind a full stop; empty for the one whose model is the job's.
    let label: String
}

extension JobRequest {
    /// The job's trainings in their order; the last one's model is the job's.
    var trainings: [JobTraining] {
        let (count, hasControl) = (distill?.seeds ?? 1, distill?.hasControl ?? false)
        return (0..<count).reversed().flatMap { place in
            let seed = self.seed &+ UInt64(place)
            let own = JobTraining(seed: seed, isControl: false, label: place == 0 ? "" : "seed\(place)")
            let label = place == 0 ? "control" : "seed\(place)_control"
            return (hasControl ? [JobTraining(seed: seed, isControl: true, label: label)] : []) + [own]
        }
    }
}

/// How the trainings of a job ended that are over; a file, so that a resumed job goes on behind them.
struct RunLedger {
    /// How one ended.
    struct Entry: Equatable {
        let training: JobTraining
        let accuracy: Double
        /// Of the student that learned beside it.
        var peer: Double?
    }

    private let path: String
    private(set) var entries: [Entry] = []

    /// Reads the file; what is damaged or not of these trainings counts as not there.
    init(_ path: String, of trainings: [JobTraining]) {
        self.path = path
        guard let bytes = try? readFile(path, limit: 1 << 20), let json = try? JSONValue(parsing: bytes)
        else {
            return
        }
        // The last one's end is the job's.
        for (training, found) in zip(trainings.dropLast(), json["trainings"]?.arrayValue ?? []) {
            guard found["seed"] == .string(String(training.seed)),
                found["control"] == .bool(training.isControl),
                let accuracy = found["test_accuracy"]?.doubleValue
            else { return }
            let peer = found["peer_test_accuracy"]?.doubleValue
            entries.append(Entry(training: training, accuracy: accuracy, peer: peer))
        }
    }

    /// Writes down how the next one ended.
    mutating func append(_ entry: Entry) throws(FileError) {
        entries.append(entry)
        let list = entries.map { entry -> JSONValue in
            [
                "seed": .string(String(entry.training.seed)), "control": .bool(entry.training.isControl),
                "test_accuracy": .number(entry.accuracy), "peer_test_accuracy": JSONValue(entry.peer),
            ]
        }
        let json: JSONValue = ["trainings": .array(list)]
        _ = try AtomicFile.write(Array(json.encoded().utf8), to: path)
    }

    /// What the report says of a job's trainings; nothing where there was but one.
    static func report(_ entries: [Entry]) -> JSONObject {
        guard entries.count > 1 else { return [:] }
        // By rising seeds, so that both lists pair up.
        let sorted = entries.sorted { $0.training.seed < $1.training.seed }
        let distilled = sorted.filter { !$0.training.isControl }.map(\.accuracy)
        let control = sorted.filter(\.training.isControl).map(\.accuracy)
        let peers = sorted.compactMap(\.peer)
        var runs: JSONObject = ["distilled": numbers(distilled)]
        if !control.isEmpty { runs["control"] = numbers(control) }
        if !peers.isEmpty { runs["peer"] = numbers(peers) }
        var report: JSONObject = ["runs": .object(runs), "distilled": spread(distilled)]
        guard !control.isEmpty else { return report }
        let test = PairedTest(distilled, against: control)
        report["control"] = spread(control)
        report["mean_gain"] = .number(test.meanGain)
        report["verdict"] = .string(test.verdict.rawValue)
        report["test"] = ["name": .string(PairedTest.name), "p_value": JSONValue(test.pValue)]
        return report
    }

    private static func numbers(_ values: [Double]) -> JSONValue { .array(values.map { .number($0) }) }

    /// The mean, the standard deviation of the sample, and the ends.
    private static func spread(_ values: [Double]) -> JSONValue {
        let mean = values.reduce(0, +) / Double(values.count)
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let deviation = values.count > 1 ? (squares / Double(values.count - 1)).squareRoot() : nil
        return [
            "mean": .number(mean), "std": JSONValue(deviation), "min": JSONValue(values.min()),
            "max": JSONValue(values.max()),
        ]
    }
}
