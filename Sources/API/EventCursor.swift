import Jobs

/// How far a client has read: the last event, and of each curve the step up to which it has the points.
///
/// Written as `evt_...` or `evt_....train_loss=1200,val_loss=1000`; the second part is what makes a
/// resumed stream repeat no point. Each curve has a step of its own, because a step's validation
/// figures are stored later than its loss.
struct EventCursor: Sendable, Hashable {
    /// How many curves a cursor can name; those of a job with more, of many trainings, are repeated.
    private static let seriesMax = 100
    /// The longest text: an event, and of each curve a name and a step.
    static let lengthMax = 30 + seriesMax * (1 + 100 + 1 + 18)

    /// What its text looks like.
    static let pattern =
        #"^evt_[0-7][0-9a-hjkmnp-tv-z]{25}(\.[!-+\--~]+=[0-9]{1,18}(,[!-+\--~]+=[0-9]{1,18})*)?$"#

    var event: EventID?
    var steps: [String: Int] = [:]

    /// The beginning.
    init() {}

    /// Reads a cursor; `nil` when it is none of ours.
    init?(_ text: String) {
        let parts = text.split(separator: ".", maxSplits: 1)
        guard let first = parts.first, let event = EventID(String(first)) else { return nil }
        self.event = event
        guard parts.count == 2 else { return }
        let series = parts[1].split(separator: ",", omittingEmptySubsequences: false)
        guard series.count <= Self.seriesMax else { return nil }
        for entry in series {
            guard let equals = entry.lastIndex(of: "="), let step = Int(entry[entry.index(after: equals)...]),
                step >= 0, Self.isPlain(String(entry[..<equals]))
            else { return nil }
            steps[String(entry[..<equals])] = step
        }
    }

    /// The text that `init` reads; `nil` before the first event.
    ///
    /// A curve whose name would not survive is left out: a resumed stream repeats it.
    var text: String? {
        guard let event else { return nil }
        let entries = steps.filter { Self.isPlain($0.key) }.sorted { $0.key < $1.key }
            .prefix(Self.seriesMax)
        guard !entries.isEmpty else { return event.rawValue }
        return "\(event.rawValue)." + entries.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
    }

    /// Goes back to `step` wherever the client is beyond it.
    mutating func rewind(toStep step: Int) { steps = steps.mapValues { min($0, step) } }

    /// Whether a cursor like this one can tell how far a client has come with a curve.
    func carries(_ name: String) -> Bool {
        Self.isPlain(name) && (steps[name] != nil || steps.count < Self.seriesMax)
    }

    private static func isPlain(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: ",") }
    }
}
