/// A family of figures in Prometheus' text format, version 0.0.4.
public struct Metric: Sendable {
    /// What its figures mean.
    public enum Kind: String, Sendable {
        /// Only grows, until the process starts anew; its name ends in `_total`.
        case counter
        case gauge
        /// Counts by upper bounds, with a sum and a count.
        case histogram
    }

    /// Names one of several figures of a family.
    public typealias Label = (name: String, value: String)

    public let name: String
    public let kind: Kind
    private let help: String
    private var lines: [String] = []

    /// A family without figures.
    public init(_ name: String, _ kind: Kind, _ help: String) {
        (self.name, self.kind, self.help) = (name, kind, help)
    }

    /// A family of one figure without labels.
    public init(_ name: String, _ kind: Kind, _ help: String, value: Double) {
        self.init(name, kind, help)
        add(value)
    }

    /// Adds a figure.
    public mutating func add(_ value: Double, _ labels: [Label] = []) { add(value, labels, suffix: "") }

    /// Adds the figures of a histogram.
    ///
    /// - Parameters:
    ///   - counts: How many lie at or below each bound but above the one before, and how many beyond all.
    ///   - bounds: Upper bounds, in rising order, one fewer than `counts`.
    ///   - sum: Of all that was counted.
    public mutating func add(counts: [Int], bounds: [Double], sum: Double) {
        var total = 0
        for (count, bound) in zip(counts, bounds + [.infinity]) {
            total += count
            add(Double(total), [("le", Self.text(bound))], suffix: "_bucket")
        }
        add(sum, [], suffix: "_sum")
        add(Double(total), [], suffix: "_count")
    }

    private mutating func add(_ value: Double, _ labels: [Label], suffix: String) {
        let pairs = labels.map { "\($0.name)=\"\(Self.escaped($0.value, quotes: true))\"" }
        let list = pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}"
        lines.append("\(name)\(suffix)\(list) \(Self.text(value))\n")
    }

    /// The family with its heading; nothing where it has no figures.
    var text: String {
        guard !lines.isEmpty else { return "" }
        return "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
            + lines.joined()
    }

    private static func text(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        return Int64(exactly: value).map { "\($0)" } ?? "\(value)"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.append(character)
            }
        }
    }
}
