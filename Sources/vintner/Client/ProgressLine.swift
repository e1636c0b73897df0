import JSON

/// A job's progress on one line that is written over itself.
struct ProgressLine {
    private var last = ""
    private var isOpen = false

    /// Shows where a job stands, when that has changed.
    mutating func show(_ job: JSONValue) {
        let text = Self.text(job)
        guard text != last else { return }
        last = text
        if Terminal.isInteractive {
            Terminal.show("\r\u{1B}[K\(text)")
            isOpen = true
        } else {
            Terminal.say(text)
        }
    }

    /// Ends the line.
    mutating func close() {
        if isOpen { Terminal.say("") }
        isOpen = false
    }

    /// `running  62 %  epoch 4/5  step 2908/4690  11234 samples/s  loss 0.2411  val_accuracy 0.9012  ETA
    /// 0:09`.
    static func text(_ job: JSONValue) -> String {
        let state = job["state"]?.stringValue ?? "unknown"
        guard let progress = job["progress"], let steps = progress["steps"]?.intValue, steps > 0 else {
            let reason = job["waiting_for"]?["message"]?.stringValue
            return reason.map { "\(state)  \($0)" } ?? state
        }
        var parts = [state, "\(Int((progress["fraction"]?.doubleValue ?? 0) * 100)) %"]
        parts.append("epoch \(progress["epoch"]?.intValue ?? 0)/\(progress["epochs"]?.intValue ?? 0)")
        parts.append("step \(progress["step"]?.intValue ?? 0)/\(steps)")
        if let rate = progress["samples_per_second"]?.doubleValue { parts.append("\(Int(rate)) samples/s") }
        for (series, name) in [("train_loss", "loss"), ("val_accuracy", "val_accuracy")] {
            if let value = job["summary"]?[series]?["last"]?.doubleValue {
                parts.append("\(name) \(rounded(value))")
            }
        }
        if let eta = progress["eta_seconds"]?.doubleValue, state == "running" {
            parts.append("ETA \(clock(eta))")
        }
        return parts.joined(separator: "  ")
    }

    /// Seconds as `1:02:03`.
    static func clock(_ seconds: Double) -> String {
        let total = Int(min(max(seconds, 0), 1e9).rounded())
        let (hours, minutes, rest) = (total / 3600, total / 60 % 60, total % 60)
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return hours > 0 ? "\(hours):\(two(minutes)):\(two(rest))" : "\(minutes):\(two(rest))"
    }
}

/// The last words about a job that is over.
enum Epilogue {
    /// Tells what came of a job and what it cost.
    static func say(_ job: JSONValue) {
        let id = job["id"]?.stringValue ?? ""
        let state = job["state"]?.stringValue ?? ""
        if let message = job["error"]?["message"]?.stringValue {
            Terminal.complain("vintner: \(id) \(state): \(message)")
            return
        }
        guard let report = job["result"]?["report"] else { return Terminal.say("\(id) \(state)") }
        func number(_ key: String, _ digits: Int) -> String {
            report[key]?.doubleValue.map { rounded($0, digits: digits) } ?? "?"
        }
        Terminal.say(
            "\(id) \(state): test accuracy \(number("test_accuracy", 4)), \(number("cpu_seconds", 1)) CPU s, "
                + "\(number("joules", 0)) J (\(report["energy_method"]?.stringValue ?? "?")), model "
                + "\(job["result"]?["model_id"]?.stringValue ?? "?")")
    }

    /// The exit code for a job's state and its verdict.
    static func ending(_ state: String, verdict: String?) -> Ending {
        switch (state, verdict) {
        case ("succeeded", "gate_failed"?), ("failed", "gate_failed"?): .gateFailed
        case ("succeeded", _): .ok
        case ("cancelled", _): .cancelled
        default: .failed
        }
    }
}
