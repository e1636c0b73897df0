import Foundation
import JSON
import Plan
import Testing
import Training

@testable import vintner

#if canImport(FoundationXML)
    import FoundationXML
#endif

@Suite("Plans and profiles as people read them") struct PlanTextTests {
    private static func use(_ activations: Int, _ gradients: Int) -> MemoryUse {
        var use = MemoryUse()
        (use.parameters, use.activations, use.gradients) = (1000, activations, gradients)
        return use
    }

    /// Collects the elements of a document.
    private final class Elements: NSObject, XMLParserDelegate {
        var names: [String] = []
        var points: [String] = []

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
            qualifiedName: String?, attributes: [String: String]
        ) {
            names.append(name)
            if let corners = attributes["points"] { points.append(corners) }
        }
    }

    @Test("the chart is well-formed whatever the title, and has an area for each purpose in use")
    func chart() {
        let chart = MemoryChart(
            [Self.use(0, 0), Self.use(3000, 0), Self.use(1000, 2000)], title: "<a&\"\u{1}>")
        let parser = XMLParser(data: Data(chart.svg.utf8))
        let elements = Elements()
        parser.delegate = elements
        #expect(parser.parse(), "\(String(describing: parser.parserError))")
        #expect(elements.names.first == "svg")
        #expect(elements.points.count == 3)
        // Two corners a call above, and two below.
        #expect(elements.points.allSatisfy { $0.split(separator: " ").count == 12 })
        // The fullest call reaches the top of the plot, which is at 64 of 420.
        #expect(elements.points[1].contains(",64.0"))
    }

    @Test("the chart of nothing is well-formed too")
    func emptyChart() { #expect(XMLParser(data: Data(MemoryChart([], title: "").svg.utf8)).parse()) }

    @Test("columns stand under their headings")
    func table() {
        var table = TextTable([.init(title: "layer", isNumber: false), .init(title: "us")])
        table.add(["convolution", "1"])
        table.add(["relu", "1024.5"])
        #expect(
            table.lines == [
                "layer            us", "convolution       1", "relu         1024.5",
            ])
    }

    @Test(
        "bytes have a unit that fits them",
        arguments: [
            (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (1 << 42, "4.0 TiB"),
        ])
    func bytes(count: Int, text: String) { #expect(readableBytes(count) == text) }

    @Test("shares are of the machine's own rates")
    func shares() {
        let roof = Roofline(
            flopsPerSecond: 1e9, bandwidths: [.init(byteCount: 1, bytesPerSecond: 1e8)], secondsPerCall: 0)
        let step = PlanSummary.Step(
            label: "a", layer: "conv1", pass: .backward, kernel: "k", macs: 1_000_000, bytesRead: 300_000,
            bytesWritten: 100_000)
        let plan = PlanSummary(
            batch: 1, byteCount: 0, regions: .init(parameters: 0, optimizerState: 0, gradients: 0),
            steps: [step], buffers: [])
        let profile = StepProfile(
            steps: 5, plainSeconds: 0.004, timedSeconds: 0.0044,
            plans: [TimedPlan(plan, seconds: [0.004], runs: 1)])
        let json = ProfileDocument(profile: profile, roof: roof, threads: 2, precision: .bf16).json
        let layer = json["layers"]?[0]
        #expect(layer?["name"] == "conv1" && layer?["backward_ms"] == 4.0 && layer?["forward_ms"] == 0.0)
        // Two million operations in 4 ms are 0.5 GFLOP/s, 400 kB are 0.1 GB/s.
        #expect(abs((layer?["share_of_peak"]?.doubleValue ?? 0) - 0.5) < 1e-12)
        #expect(abs((layer?["share_of_bandwidth"]?.doubleValue ?? 0) - 1) < 1e-12)
        #expect(json["precision"] == "bf16" && json["step_ms"] == 4.0 && json["peak_gflops"] == 1.0)
    }
}
