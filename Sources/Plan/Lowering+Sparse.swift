internal import Graph
public import Kernels
internal import Tensor

/// How a layer's weights are kept in plans of few samples and of many; nil for all of them.
public struct SparseWeights: Hashable, Sendable {
    /// In plans of fewer than `samplesMin` samples.
    public var few: SparseLayout?
    /// In the others.
    public var many: SparseLayout?

    /// What counts as many samples.
    public static let samplesMin = 8

    /// The layouts of both kinds of plan.
    public init(few: SparseLayout? = nil, many: SparseLayout? = nil) { (self.few, self.many) = (few, many) }

    /// The layout in plans of so many samples.
    public subscript(batch batch: Int) -> SparseLayout? {
        get { batch < Self.samplesMin ? few : many }
        set { if batch < Self.samplesMin { few = newValue } else { many = newValue } }
    }
}

/// Layers whose weights are mostly zero.
extension Lowering {
    /// The product over the weights that are kept, where the options ask for one and it covers the layer and
    /// what runs behind it.
    func sparseProduct(
        _ node: Graph.Node, _ weight: Graph.ParameterID, fusing operations: [PostOperation],
        addingBias: Bool = false
    ) -> SparseProduct? {
        guard !mode.isTraining, options.precision == .float32, SparseProduct.fuses(operations),
            let layout = options.sparse[weight]?[batch: batch]
        else { return nil }
        switch node.operation {
        case .linear(let bias):
            return SparseProduct(shapes.innerProduct(hasBias: bias || addingBias, node), layout)
        case .convolution(let window) where window.isPointwise:
            return SparseProduct(shapes.innerProduct(hasBias: window.bias || addingBias, node), layout)
        case .convolution(let window):
            return SparseProduct(shapes.convolution(window, node, addingBias: addingBias), layout)
        default: return nil
        }
    }

    /// The kept weights of a layer, packed anew when the parameters have changed.
    mutating func packed(
        _ id: Graph.ParameterID, for product: SparseProduct, _ node: Graph.Node
    ) throws(PlanError) -> BufferID {
        let label = "\(node.name) weights"
        let plain = try reordered(
            parameterBuffer(id), from: store[id].layout, to: store[id].plain, label, workspace())
        return packed(plain, for: product, label)
    }

    /// The same from weights in PyTorch's order.
    mutating func packed(_ plain: BufferID, for product: SparseProduct, _ label: String) -> BufferID {
        let packed = addBuffer("\(label) that are not zero")
        prepare("\(label) packing", product.packing(), [plain, packed])
        buffers[packed.index].isKept = true
        return packed
    }
}
