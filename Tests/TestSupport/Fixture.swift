import Formats
public import JSON
import Tensor

/// One file of PyTorch's numbers under `Tests/Fixtures`.
public struct Fixture {
    private let reader: SafetensorsReader
    /// Each case's parameters, by its name.
    public let cases: JSONObject

    public init(_ name: String) throws { try self.init(path: Self.path("\(name).safetensors")) }

    /// Reads a file that lies elsewhere.
    public init(path: String) throws {
        reader = try SafetensorsReader(path)
        let text = reader.metadata["cases"] ?? "{}"
        cases = try JSONValue(parsing: Array(text.utf8)).objectValue ?? JSONObject()
    }

    /// Where a file of `Tests/Fixtures` lies.
    public static func path(_ file: String) -> String {
        let folders = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
        return folders.joined(separator: "/") + "/Fixtures/" + file
    }

    /// The cases of an operation, as arguments of a test; one that cannot be found when there are none.
    public static func cases(_ name: String, op: String) -> [String] {
        let members = (try? Fixture(name))?.cases.members ?? []
        let found = members.filter { $0.value["op"]?.stringValue == op }.map(\.key)
        return found.isEmpty ? ["no case of \(op)"] : found
    }

    public func floats(_ tensor: String) throws -> [Float] { try reader.floats(tensor) }
    public func doubles(_ tensor: String) throws -> [Double] { try reader.doubles(tensor) }
    public func integers(_ tensor: String) throws -> [Int64] { try reader.integers(tensor) }
    public func bytes(_ tensor: String) throws -> [UInt8] { try reader.bytes(tensor) }
    public func shape(_ tensor: String) throws -> [Int] { try reader.entry(tensor).shape }
    public func contains(_ tensor: String) -> Bool { reader.entries.contains { $0.name == tensor } }

    /// An array of two integers among a case's parameters.
    public func pair(_ name: String, _ key: String) -> Pair {
        let numbers = cases[name]?[key]?.arrayValue?.compactMap(\.intValue) ?? []
        return numbers.count == 2 ? Pair(numbers[0], numbers[1]) : Pair(1, 1)
    }

    /// A number among a case's parameters; 0 when there is none.
    public func number(_ name: String, _ key: String) -> Float {
        Float(cases[name]?[key]?.doubleValue ?? 0)
    }
}

/// Images `[batch, channels, height, width]` brought into `[batch, height, width, channels]`; rows stay.
public func channelsLast(_ values: [Float], _ shape: [Int]) -> [Float] {
    guard shape.count == 4 else { return values }
    let (channels, area) = (shape[1], shape[2] * shape[3])
    return values.indices.map { index in
        let (c, place, n) = (index % channels, index / channels % area, index / (channels * area))
        return values[(n * channels + c) * area + place]
    }
}

/// The inverse of `channelsLast`; `shape` is still `[batch, channels, height, width]`.
public func channelsFirst(_ values: [Float], _ shape: [Int]) -> [Float] {
    guard shape.count == 4 else { return values }
    let (channels, area) = (shape[1], shape[2] * shape[3])
    return values.indices.map { index in
        let (place, c, n) = (index % area, index / area % channels, index / (channels * area))
        return values[(n * area + place) * channels + c]
    }
}

/// Seeded numbers in [low, high).
public func randomFloats(_ count: Int, seed: UInt64, low: Float = -1, high: Float = 1) -> [Float] {
    var random = CounterRandom(seed: seed, purpose: .test)
    return (0..<count).map { _ in low + (high - low) * random.uniform() }
}
