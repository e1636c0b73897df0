import Jobs

/// A verdict in the forms that pipelines and pages read.
///
/// Names are hostile text: each form escapes them.
enum VerdictText {
    /// A JUnit report: one case for the run, one for each gate.
    static func junit(_ verdict: Verdict) -> String {
        let seconds = verdict.job.resources.wallSeconds
        let name = escaped(verdict.job.name.isEmpty ? verdict.job.id.rawValue : verdict.job.name)
        let runFailed = verdict.job.state == .failed || verdict.job.state == .cancelled
        let isPending = verdict.outcome == .pending
        let failures =
            (runFailed ? 1 : 0) + (isPending ? 0 : verdict.gates.count { !$0.holds && !$0.isMadeUpFor })
        var lines = [
            #"<?xml version="1.0" encoding="UTF-8"?>"#,
            "<testsuite name=\"\(name)\" tests=\"\(verdict.gates.count + 1)\" failures=\"\(failures)\" "
                + "time=\"\(seconds)\">",
        ]
        let run = "  <testcase classname=\"\(name)\" name=\"run\" time=\"\(seconds)\""
        if runFailed {
            lines.append("\(run)><failure message=\"\(escaped(verdict.sentence))\"/></testcase>")
        } else {
            lines.append(isPending ? "\(run)><skipped/></testcase>" : "\(run)/>")
        }
        for gate in verdict.gates {
            let start = "  <testcase classname=\"\(name)\" name=\"\(escaped(gate.condition))\""
            let reached = gate.value.map { "\($0)" } ?? "nothing"
            if isPending {
                lines.append("\(start)><skipped/></testcase>")
            } else if gate.isMadeUpFor {
                let message = "reached \(reached); the model is kept as it was"
                lines.append("\(start)><skipped message=\"\(message)\"/></testcase>")
            } else if gate.holds {
                lines.append("\(start)/>")
            } else {
                lines.append("\(start)><failure message=\"reached \(reached)\"/></testcase>")
            }
        }
        return (lines + ["</testsuite>", ""]).joined(separator: "\n")
    }

    /// A short report for a merge request.
    static func markdown(_ verdict: Verdict) -> String {
        let job = verdict.job
        var lines = [
            "### \(markdownEscaped(job.name.isEmpty ? job.id.rawValue : job.name)): \(word(verdict))", "",
        ]
        lines.append(markdownEscaped(verdict.sentence))
        if !verdict.gates.isEmpty {
            lines += ["", "| gate | reached | |", "|---|---|---|"]
            lines += verdict.gates.map { gate in
                let reached = gate.value.map { "\($0)" } ?? "not measured"
                let word = gate.holds ? "holds" : gate.isMadeUpFor ? "missed, kept as it was" : "missed"
                return "| \(markdownEscaped(gate.condition)) | \(reached) | \(word) |"
            }
        }
        lines += ["", "| | |", "|---|---|", "| CPU seconds | \(rounded(job.resources.cpuSeconds)) |"]
        lines.append("| wall seconds | \(rounded(job.resources.wallSeconds)) |")
        lines.append("| peak memory | \(job.resources.peakMemoryBytes / 1_048_576) MiB |")
        lines.append("| energy | \(rounded(job.resources.joules)) J (\(job.resources.energyMethod)) |")
        return (lines + [""]).joined(separator: "\n")
    }

    /// A badge for a README.
    static func badge(_ verdict: Verdict) -> String {
        let color =
            switch verdict.outcome {
            case .passed: "#2e7d32"
            case .pending: "#757575"
            case .gateFailed, .jobFailed, .jobCancelled: "#c62828"
            }
        let text = word(verdict)
        let width = 10 + 7 * text.count
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(62 + width)" height="20" role="img" \
            aria-label="vintner: \(text)"><rect width="62" height="20" fill="#424242"/>\
            <rect x="62" width="\(width)" height="20" fill="\(color)"/>\
            <g fill="#fff" font-family="Verdana,sans-serif" font-size="11" text-anchor="middle">\
            <text x="31" y="14">vintner</text><text x="\(62 + width / 2)" y="14">\(text)</text></g></svg>

            """
    }

    private static func word(_ verdict: Verdict) -> String {
        switch verdict.outcome {
        case .passed: "passed"
        case .pending: verdict.job.state.rawValue
        case .gateFailed: "gate failed"
        case .jobFailed: "failed"
        case .jobCancelled: "cancelled"
        }
    }

    private static func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }

    private static func escaped(_ text: String) -> String {
        text.unicodeScalars.map { scalar in
            switch scalar {
            case "<": "&lt;"
            case ">": "&gt;"
            case "&": "&amp;"
            case "\"": "&quot;"
            default: isPrinted(scalar) ? String(scalar) : " "
            }
        }.joined()
    }

    /// Whether XML has a place for it, and terminals do nothing by it.
    private static func isPrinted(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F: false
        default: !scalar.properties.isNoncharacterCodePoint
        }
    }

    private static func markdownEscaped(_ text: String) -> String {
        text.unicodeScalars.map { scalar in
            !isPrinted(scalar)
                ? " " : "\\`*_{}[]<>#|!".unicodeScalars.contains(scalar) ? "\\\(scalar)" : String(scalar)
        }.joined()
    }
}
