import ArgumentParser
import Files
import Graph
import JSON
import Jobs
import Plan
import Training

/// `vintner plan`: what a training step does and takes, before anything is trained.
struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Print the plan of a training step: calls, memory, predicted time.",
        discussion: """
            Predicted times are the shortest that the machine allows: each call computes at the rate of a \
            large product and moves its operands at the rate of memory or of the cache that holds them, both \
            measured at the start of this command.
            """)

    @OptionGroup var options: StepOptions
    @Option(help: "Write a chart (SVG) of the memory in use over the step.")
    var chart: String?

    func run() throws {
        let subject = try options.subject()
        let program = try subject.compile()
        let roof = try MachineLimits().roofline(threads: subject.threads, subject.precision.element)
        let outline = StepOutline(
            subject: subject, roof: roof, byteCount: program.byteCount,
            plans: program.stepPlans(subject.parts).map(\.overview))
        if let chart {
            let drawing = MemoryChart(outline.plans.flatMap(\.memory), title: options.file)
            do { _ = try AtomicFile.write(Array(drawing.svg.utf8), to: chart) } catch {
                Terminal.complain("vintner: the chart could not be written: \(error)")
                throw Ending.failed.error
            }
        }
        if options.json { return Terminal.say(outline.json.encoded(pretty: true)) }
        for line in outline.lines { Terminal.say(line) }
    }
}

/// A training step on paper.
struct StepOutline {
    let subject: StepSubject
    let roof: Roofline
    /// Bytes of the whole arena, with what else the program may run.
    let byteCount: Int
    /// In the order in which a step runs them.
    let plans: [PlanSummary]

    private var timed: [TimedPlan] { plans.map { TimedPlan($0, under: roof) } }
    private var seconds: Double { timed.reduce(0) { $0 + $1.total } }
    private var macs: Int { plans.reduce(0) { $0 + $1.macs } }
    private var bytesMoved: Int { plans.reduce(0) { $0 + $1.bytesMoved } }

    /// The memory at the step's fullest moment.
    private var peak: MemoryUse { plans.map(\.peak).max { $0.total < $1.total } ?? MemoryUse() }

    /// A step in parts runs the same plan several times; each is shown once.
    private var shown: [(timed: TimedPlan, runs: Int)] {
        var shown: [(timed: TimedPlan, runs: Int)] = []
        for one in timed {
            if let index = shown.firstIndex(where: { $0.timed == one }) {
                shown[index].runs += 1
            } else {
                shown.append((one, 1))
            }
        }
        return shown
    }
}

extension StepOutline {
    /// The step as tables.
    var lines: [String] {
        var lines: [String] = []
        for (timed, runs) in shown {
            if plans.count > 1 {
                lines += [timed.plan.batch > 0 ? "\(runs) x \(timed.plan.batch) samples" : "then, once", ""]
            }
            lines += callTable(timed).lines + [""] + bufferTable(timed.plan).lines + [""]
        }
        return lines + layerTable.lines + [""] + totals
    }

    private func callTable(_ timed: TimedPlan) -> TextTable {
        var table = TextTable([
            .init(title: "#"), .init(title: "call", isNumber: false),
            .init(title: "kernel", isNumber: false), .init(title: "MMACs"), .init(title: "read"),
            .init(title: "written"), .init(title: "us"),
        ])
        for (index, (step, seconds)) in zip(timed.plan.steps, timed.seconds).enumerated() {
            table.add([
                "\(index)", step.label, step.kernel, rounded(Double(step.macs) * 1e-6, digits: 2),
                readableBytes(step.bytesRead), readableBytes(step.bytesWritten), microseconds(seconds),
            ])
        }
        return table
    }

    private func bufferTable(_ plan: PlanSummary) -> TextTable {
        var table = TextTable([
            .init(title: "buffer", isNumber: false), .init(title: "kind", isNumber: false),
            .init(title: "bytes"), .init(title: "calls"), .init(title: "at"),
        ])
        for buffer in plan.buffers {
            table.add([
                buffer.label, buffer.kind.rawValue, readableBytes(buffer.byteCount),
                "\(buffer.lifetime.lowerBound)-\(buffer.lifetime.upperBound)",
                buffer.offset.map { "\($0)" } ?? "outside",
            ])
        }
        return table
    }

    private var layerTable: TextTable {
        var table = TextTable([
            .init(title: "layer", isNumber: false), .init(title: "forward us"), .init(title: "backward us"),
            .init(title: "update us"), .init(title: "MMACs"), .init(title: "moved"),
        ])
        for layer in timed.layers {
            table.add([
                layer.name, microseconds(layer.forward), microseconds(layer.backward),
                microseconds(layer.update), rounded(Double(layer.macs) * 1e-6, digits: 2),
                readableBytes(layer.byteCount),
            ])
        }
        return table
    }

    private var totals: [String] {
        let cost = CostModel(of: subject.graph)
        let peak = peak
        let shareOfPeak = 2 * Double(macs) / seconds / roof.flopsPerSecond
        let (gigaflops, caches) = (roof.flopsPerSecond * 1e-9, roof.bandwidths.dropLast())
        let rates = caches.map {
            "\(rounded($0.bytesPerSecond * 1e-9, digits: 1)) GB/s up to \(readableBytes($0.byteCount))"
        }
        return [
            "parameters      \(cost.parameters)",
            "step            \(rounded(Double(macs) * 1e-6, digits: 2)) MMACs, "
                + "\(readableBytes(bytesMoved)) moved",
            "arena           \(readableBytes(byteCount)), at its fullest: "
                + "parameters \(readableBytes(peak.parameters)), "
                + "optimiser state \(readableBytes(peak.optimizerState)), "
                + "activations \(readableBytes(peak.activations)), "
                + "gradients \(readableBytes(peak.gradients)), scratch \(readableBytes(peak.scratch))",
            "predicted       \(milliseconds(seconds)) ms a step at the least, "
                + "\(rounded(shareOfPeak * 100, digits: 1)) % of the peak",
            "this machine    \(rounded(gigaflops, digits: 1)) GFLOP/s (\(subject.precision.described), "
                + "\(subject.threads) threads), \(rates.joined(separator: ", ")), "
                + "\(rounded(roof.memoryBytesPerSecond * 1e-9, digits: 1)) GB/s beyond, "
                + "\(microseconds(roof.secondsPerCall)) us a call; all measured now",
        ]
    }
}
