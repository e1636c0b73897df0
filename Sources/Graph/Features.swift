public import JSON
internal import Tensor

/// A layer of a student that is to come close to one of its teacher's.
public struct FeatureComparison: Sendable, Hashable {
    /// How the two are compared.
    public enum Loss: String, Sendable, CaseIterable { case mse, cosine, attention }

    /// What brings the student's channels to the teacher's, and is learned beside the student.
    public enum Adapter: String, Sendable, CaseIterable { case linear, conv1x1, none }

    /// The layers' names.
    public var student: String
    public var teacher: String
    public var loss: Loss
    public var adapter: Adapter
    /// What the loss is multiplied by.
    public var weight: Double

    /// A comparison; adapter and weight are the loss's usual ones where they are not given.
    public init(
        student: String, teacher: String, loss: Loss = .mse, adapter: Adapter? = nil, weight: Double? = nil
    ) {
        (self.student, self.teacher, self.loss) = (student, teacher, loss)
        (self.adapter, self.weight) = (adapter ?? loss.adapter, weight ?? loss.weight)
    }
}

extension FeatureComparison.Loss {
    /// Only FitNets bring a regressor along.
    public var adapter: FeatureComparison.Adapter { self == .mse ? .linear : .none }

    /// What the sources use: mdistiller for FitNets and attention, PyTorch's tutorial for the cosine.
    public var weight: Double {
        switch self {
        case .mse: 100
        case .cosine: 0.25
        case .attention: 1000
        }
    }
}

extension Graph {
    /// A value that training compares with a teacher's.
    public struct Feature: Sendable, Hashable {
        public let comparison: FeatureComparison
        public let value: ValueID
        /// A product over the channels that is none of the graph's nodes: training alone runs it.
        public let adapter: Node?
        /// Of the teacher's value.
        public let teacherChannels: Int

        /// What is compared with the teacher's.
        public var compared: ValueID { adapter?.output ?? value }
    }

    /// Whether a parameter belongs to a feature's adapter, which is no part of the model.
    public func isFeatureAdapter(_ id: ParameterID) -> Bool {
        features.contains { $0.adapter?.parameters.contains(id) == true }
    }

    /// The same model with features that training compares with a teacher's.
    ///
    /// The model's parameters keep their identifiers; those of the adapters follow behind them. Throws every
    /// violation; `pointer` is where the list of comparisons is.
    public func comparing(
        _ comparisons: [FeatureComparison], with teacher: Graph, at pointer: String
    ) throws(InvalidInput) -> Graph {
        var result = self
        let log = ViolationLog()
        for (index, comparison) in comparisons.enumerated() {
            let place = Place(pointer: pointer).element(index)
            do throws(InvalidInput) { try result.append(comparison, index, teacher, place) } catch {
                for violation in error.violations {
                    log.add(violation.pointer, violation.code, violation.detail)
                }
            }
        }
        try log.throwIfAny()
        return result
    }

    /// What the layers of a teacher make that are compared with a student's; nil for a name that none has.
    public func outputs(comparedBy comparisons: [FeatureComparison]) -> [ValueID?] {
        comparisons.map { comparison in layers.first { $0.name == comparison.teacher }?.output }
    }

    private mutating func append(
        _ comparison: FeatureComparison, _ index: Int, _ teacher: Graph, _ place: Place
    ) throws(InvalidInput) {
        let value = try feature(comparison.student, of: "the student", at: place.member("student"))
        let other = try teacher.feature(comparison.teacher, of: "the teacher", at: place.member("teacher"))
        let (own, taught) = (self[value], teacher[other])
        let sizes =
            "\(comparison.student) makes \(own.shape), the teacher's \(comparison.teacher) "
            + "\(taught.shape)"
        guard own.grid == taught.grid else {
            throw place.refusal(
                "teacher", "shape_mismatch", "\(sizes): nothing but their channels may differ")
        }
        if comparison.loss == .attention {
            guard own.positions > 1 else {
                throw place.refusal(
                    "loss", "invalid_value", "\(sizes): attention needs several positions, as images have")
            }
            guard comparison.adapter == .none else {
                throw place.refusal(
                    "adapter", "invalid_value", "attention takes no adapter: it has maps alone")
            }
        } else if comparison.adapter == .none {
            guard own.channels == taught.channels else {
                throw place.refusal(
                    "adapter", "shape_mismatch", "\(sizes): without an adapter they must agree")
            }
            guard own.liesAs(taught) else {
                throw place.refusal(
                    "adapter", "shape_mismatch",
                    "\(sizes), and one of them is a flattened image whose elements lie in another order; "
                        + "compare the layers in front, or take an adapter")
            }
        }
        let adapter = try adapter(comparison, index, value, taught.channels, at: place)
        features.append(
            Feature(
                comparison: comparison, value: value, adapter: adapter, teacherChannels: taught.channels))
    }

    /// The output of a layer that has one of its own.
    private func feature(_ name: String, of model: String, at place: Place) throws(InvalidInput) -> ValueID {
        guard let layer = layers.first(where: { $0.name == name }) else {
            let nearest = Spelling.nearest(to: name, among: layers.map(\.name))
            let known = layers.prefix(16).map(\.name).joined(separator: ", ")
            throw place.refusal(
                "unknown_layer",
                "\(model) has no layer \(JSONValue.string(name).summary)"
                    + (nearest.map { "; did you mean \"\($0)\"?" }
                        ?? "; it has \(known)\(layers.count > 16 ? ", ..." : "")"))
        }
        guard self[layer.output].element == .real else {
            throw place.refusal("invalid_value", "\(name) of \(model) makes tokens, which have no distance")
        }
        guard !isInput(layer.output) else {
            throw place.refusal("invalid_value", "\(name) of \(model) hands the input on as it is")
        }
        return layer.output
    }

    /// Whether a value is the input's bytes, at least when nothing is trained.
    private func isInput(_ value: ValueID) -> Bool {
        guard let maker = producer(of: value) else { return true }
        switch maker.operation {
        case .view, .dropout: return isInput(maker.inputs[0])
        default: return false
        }
    }

    private mutating func adapter(
        _ comparison: FeatureComparison, _ index: Int, _ value: ValueID, _ channels: Int, at place: Place
    ) throws(InvalidInput) -> Node? {
        let (read, operation): (Value, Operation)
        read = self[value]
        switch comparison.adapter {
        case .none: return nil
        case .linear: operation = .linear(bias: true)
        case .conv1x1:
            guard read.order == .channelsLast, read.shape.rank == 3 else {
                throw place.refusal(
                    "adapter", "invalid_value",
                    "conv1x1 is for images, and \(comparison.student) makes \(read.shape); linear fits")
            }
            operation = .convolution(Operation.Window(kernelSize: Pair(1, 1)))
        }
        // No layer's name has brackets.
        let name = "features[\(index)]"
        let window = comparison.adapter == .conv1x1 ? [1, 1] : []
        let macs = ShapeInference.product(read.shape.elementCount, channels) ?? .max
        guard macs <= ShapeInference.macsMax - nodes.reduce(0, { $0 + $1.macs }) else {
            throw place.refusal(
                "adapter", "too_large",
                "with the adapter a sample takes more than 2^44 multiply-accumulates")
        }
        do throws(TensorError) {
            let made = Value(shape: try read.shape(with: channels), order: read.rowOrder)
            let weight = addParameter(
                Parameter(
                    name: "\(name).weight", shape: try Shape([channels, read.channels] + window),
                    role: .weight, fanIn: read.channels, fanOut: channels))
            let bias = addParameter(
                Parameter(
                    name: "\(name).bias", shape: try Shape([channels]), role: .bias, fanIn: read.channels))
            return makeNode(name, operation, value, made, parameters: [weight, bias], macs: macs)
        } catch {
            throw place.refusal("adapter", "too_large", "the adapter cannot be: \(error)")
        }
    }
}

extension Graph.Value {
    /// The extents but for the channels.
    fileprivate var grid: [Int] {
        switch order {
        case .plain: Array(shape.dimensions.dropLast())
        case .channelsLast: Array(shape.dimensions.dropFirst())
        case .flattened: []
        }
    }

    /// The same with another number of channels.
    fileprivate func shape(with channels: Int) throws(TensorError) -> Shape {
        try Shape(order == .channelsLast ? [channels] + grid : grid + [channels])
    }

    /// The order of what a product over the channels makes.
    fileprivate var rowOrder: Graph.Order { order == .channelsLast ? .channelsLast : .plain }

    /// Whether two values of the same positions and channels have their elements at the same places.
    fileprivate func liesAs(_ other: Graph.Value) -> Bool {
        switch (order, other.order) {
        case (.flattened(let own), .flattened(let others)): own == others || (isLine(own) && isLine(others))
        case (.flattened(let own), _): isLine(own)
        case (_, .flattened(let others)): isLine(others)
        default: true
        }
    }

    /// Whether an image's elements lie the same way whether channels come first or last.
    private func isLine(_ image: Shape) -> Bool {
        image.rank == 0 || image[0] == 1 || image[0] == image.elementCount
    }
}
