import Plan

/// The memory in use over the calls of a training step, stacked by purpose, as SVG.
struct MemoryChart {
    private static let width = 960.0
    private static let height = 420.0
    private static let margin = (left: 80.0, right: 20.0, top: 64.0, bottom: 44.0)

    /// A purpose, from the bottom up.
    private struct Layer: Sendable {
        let name: String
        let colour: String
        let bytes: @Sendable (MemoryUse) -> Int
    }

    private static let layers = [
        Layer(name: "parameters", colour: "#4e79a7") { $0.parameters },
        Layer(name: "optimiser state", colour: "#76b7b2") { $0.optimizerState },
        Layer(name: "activations", colour: "#59a14f") { $0.activations },
        Layer(name: "gradients", colour: "#e15759") { $0.gradients },
        Layer(name: "scratch", colour: "#bab0ac") { $0.scratch },
    ]

    private let uses: [MemoryUse]
    private let title: String

    init(_ uses: [MemoryUse], title: String) { (self.uses, self.title) = (uses, title) }

    private var highest: Double { Double(max(uses.map(\.total).max() ?? 0, 1)) }

    /// A complete SVG document.
    var svg: String {
        let (width, height) = (Int(Self.width), Int(Self.height))
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(width) \(height)\" "
                + "width=\"\(width)\" height=\"\(height)\" font-family=\"sans-serif\" font-size=\"12\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
            text(Self.margin.left, 20, "Memory in use over a training step: \(title)", size: 14),
        ]
        lines += legend + grid + areas
        lines.append(
            text((Self.margin.left + Self.width) / 2, Self.height - 10, "call", anchor: "middle"))
        return (lines + ["</svg>", ""]).joined(separator: "\n")
    }

    private var legend: [String] {
        Self.layers.enumerated().flatMap { index, layer in
            let x = Self.margin.left + Double(index) * 150
            return [
                "<rect x=\"\(number(x))\" y=\"34\" width=\"12\" height=\"12\" fill=\"\(layer.colour)\"/>",
                text(x + 18, 44, layer.name),
            ]
        }
    }

    /// Four lines with their bytes, and the first and last call.
    private var grid: [String] {
        let right = number(Self.width - Self.margin.right)
        let lines = (0...4).flatMap { quarter -> [String] in
            let bytes = highest * Double(quarter) / 4
            let y = vertical(bytes)
            return [
                "<line x1=\"\(number(Self.margin.left))\" x2=\"\(right)\" y1=\"\(number(y))\" "
                    + "y2=\"\(number(y))\" stroke=\"#dddddd\"/>",
                text(Self.margin.left - 6, y + 4, readableBytes(Int(bytes)), anchor: "end"),
            ]
        }
        let below = Self.height - Self.margin.bottom + 16
        return lines + [
            text(Self.margin.left, below, "0", anchor: "middle"),
            text(
                Self.width - Self.margin.right, below, "\(max(uses.count - 1, 0))", anchor: "end"),
        ]
    }

    /// One area for each purpose, with a step at each call.
    private var areas: [String] {
        var floor = [Double](repeating: 0, count: uses.count)
        return Self.layers.compactMap { layer in
            let bytes = uses.map { Double(layer.bytes($0)) }
            let ceiling = zip(floor, bytes).map { $0 + $1 }
            defer { floor = ceiling }
            guard bytes.contains(where: { $0 > 0 }) else { return nil }
            let upper = ceiling.indices.flatMap { corners($0, ceiling[$0]) }
            let lower = floor.indices.reversed().flatMap { corners($0, floor[$0]).reversed() }
            let points = (upper + lower).joined(separator: " ")
            return
                "<polygon points=\"\(points)\" fill=\"\(layer.colour)\">"
                + "<title>\(layer.name)</title></polygon>"
        }
    }

    private func corners(_ index: Int, _ bytes: Double) -> [String] {
        [horizontal(index), horizontal(index + 1)].map { "\(number($0)),\(number(vertical(bytes)))" }
    }

    private func horizontal(_ index: Int) -> Double {
        let span = Self.width - Self.margin.left - Self.margin.right
        return Self.margin.left + span * Double(index) / Double(max(uses.count, 1))
    }

    private func vertical(_ bytes: Double) -> Double {
        let span = Self.height - Self.margin.top - Self.margin.bottom
        return Self.height - Self.margin.bottom - span * bytes / highest
    }

    private func text(
        _ x: Double, _ y: Double, _ content: String, anchor: String = "start", size: Int = 12
    ) -> String {
        "<text x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\" font-size=\"\(size)\">"
            + "\(Self.escaped(content))</text>"
    }

    private func number(_ value: Double) -> String { rounded(value, digits: 2) }

    /// Text as XML has it; what XML cannot carry becomes a question mark.
    private static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "\u{0}"..."\u{1f}", "\u{fffe}", "\u{ffff}": result += "?"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
