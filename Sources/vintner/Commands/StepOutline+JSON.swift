import Graph
import JSON
import Plan
import Training

extension StepOutline {
    /// The step as JSON; times are seconds.
    var json: JSONValue {
        let timed = plans.map { TimedPlan($0, under: roof) }
        let peak = plans.map(\.peak).max { $0.total < $1.total } ?? MemoryUse()
        return [
            "object": "plan", "precision": .string(subject.precision.rawValue),
            "threads": JSONValue(subject.threads),
            "parameters": JSONValue(CostModel(of: subject.graph).parameters),
            "macs": JSONValue(plans.reduce(0) { $0 + $1.macs }),
            "bytes_moved": JSONValue(plans.reduce(0) { $0 + $1.bytesMoved }),
            "arena_bytes": JSONValue(byteCount), "peak": Self.json(peak),
            "predicted_seconds": .number(timed.reduce(0) { $0 + $1.total }),
            "machine": [
                "peak_gflops": .number(roof.flopsPerSecond * 1e-9),
                "bandwidths": .array(
                    roof.bandwidths.map {
                        [
                            "bytes": JSONValue($0.byteCount),
                            "gigabytes_per_second": .number($0.bytesPerSecond * 1e-9),
                        ]
                    }),
                "seconds_per_call": .number(roof.secondsPerCall),
            ], "layers": .array(timed.layers.map(Self.json)), "plans": .array(timed.map(Self.json)),
        ]
    }

    private static func json(_ use: MemoryUse) -> JSONValue {
        [
            "parameters": JSONValue(use.parameters), "optimizer_state": JSONValue(use.optimizerState),
            "activations": JSONValue(use.activations), "gradients": JSONValue(use.gradients),
            "scratch": JSONValue(use.scratch), "total": JSONValue(use.total),
        ]
    }

    private static func json(_ layer: LayerTime) -> JSONValue {
        [
            "name": .string(layer.name), "forward_seconds": .number(layer.forward),
            "backward_seconds": .number(layer.backward), "update_seconds": .number(layer.update),
            "macs": JSONValue(layer.macs), "bytes": JSONValue(layer.byteCount),
        ]
    }

    private static func json(_ timed: TimedPlan) -> JSONValue {
        let steps = zip(timed.plan.steps, timed.seconds).map { step, seconds -> JSONValue in
            [
                "label": .string(step.label), "layer": .string(step.layer),
                "pass": .string(step.pass.rawValue), "kernel": .string(step.kernel),
                "macs": JSONValue(step.macs), "bytes_read": JSONValue(step.bytesRead),
                "bytes_written": JSONValue(step.bytesWritten), "predicted_seconds": .number(seconds),
            ]
        }
        let buffers = timed.plan.buffers.map { buffer -> JSONValue in
            [
                "label": .string(buffer.label), "kind": .string(buffer.kind.rawValue),
                "bytes": JSONValue(buffer.byteCount), "first_step": JSONValue(buffer.lifetime.lowerBound),
                "last_step": JSONValue(buffer.lifetime.upperBound), "offset": JSONValue(buffer.offset),
            ]
        }
        return [
            "batch": JSONValue(timed.plan.batch), "arena_end": JSONValue(timed.plan.byteCount),
            "steps": .array(steps), "buffers": .array(buffers),
            "memory": .array(timed.plan.memory.map(json)),
        ]
    }
}
