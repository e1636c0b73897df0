/// Two integers, first the vertical one: a kernel's height and width, a stride's.
public struct Pair: Sendable, Hashable {
    public var first: Int
    public var second: Int

    public init(_ first: Int, _ second: Int) { (self.first, self.second) = (first, second) }
}

extension Field where Value == Pair {
    /// An integer that stands for both, or an array of two, each within `range`; required without a default.
    public static func pair(
        _ name: String, default: Pair? = nil, in range: ClosedRange<Int>, _ documentation: String
    ) -> Field<Pair> {
        let one: JSONValue = .object(Field<Int>.integerConstraints(range))
        return Field<Pair>(
            name, documentation, default: `default`, placeholder: Pair(range.lowerBound, range.lowerBound),
            constraints: ["anyOf": [one, ["type": "array", "items": one, "minItems": 2, "maxItems": 2]]],
            decode: { value, pointer, log in
                if case .array = value {
                    let numbers = Decoding.array(value, of: "integers", count: 2...2, pointer, log) {
                        Decoding.integer($0, in: range, $1, log)
                    }
                    return numbers.map { Pair($0[0], $0[1]) }
                }
                return Decoding.integer(value, in: range, pointer, log).map { Pair($0, $0) }
            },
            encode: {
                $0.first == $0.second ? JSONValue($0.first) : [JSONValue($0.first), JSONValue($0.second)]
            })
    }
}
