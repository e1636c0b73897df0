import JSON
import Plan
import Training

/// A profile as the API and the commands tell it.
struct ProfileDocument {
    let profile: StepProfile
    let roof: Roofline
    let threads: Int
    let precision: TrainOptions.Precision

    var json: JSONValue {
        [
            "object": "profile", "steps": JSONValue(profile.steps), "threads": JSONValue(threads),
            "precision": .string(precision.rawValue),
            "peak_gflops": .number(roof.flopsPerSecond * 1e-9),
            "memory_gigabytes_per_second": .number(roof.memoryBytesPerSecond * 1e-9),
            "step_ms": .number(profile.plainSeconds * 1e3),
            "profiled_step_ms": .number(profile.timedSeconds * 1e3),
            "layers": .array(profile.layers.map(json)),
        ]
    }

    private func json(_ layer: LayerTime) -> JSONValue {
        [
            "name": .string(layer.name), "forward_ms": .number(layer.forward * 1e3),
            "backward_ms": .number(layer.backward * 1e3), "update_ms": .number(layer.update * 1e3),
            "macs": JSONValue(layer.macs), "share_of_peak": .number(shareOfPeak(layer)),
            "bytes": JSONValue(layer.byteCount), "share_of_bandwidth": .number(shareOfBandwidth(layer)),
        ]
    }

    /// Which part of the machine's product rate the layer reached.
    func shareOfPeak(_ layer: LayerTime) -> Double {
        2 * Double(layer.macs) / max(layer.seconds, 1e-12) / roof.flopsPerSecond
    }

    /// Which part of the memory's rate the layer's operands came at; more than 1 from caches.
    func shareOfBandwidth(_ layer: LayerTime) -> Double {
        Double(layer.byteCount) / max(layer.seconds, 1e-12) / roof.memoryBytesPerSecond
    }
}
