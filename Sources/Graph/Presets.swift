internal import JSON

/// Models by name.
public enum Preset: String, CaseIterable, Sendable {
    /// One linear layer on the flattened input.
    case linear
    /// Linear layers with ReLU between them.
    case mlp
    /// LeCun's 300-100 (1998), the pruning literature's small net.
    case lenet300100 = "lenet_300_100"
    /// LeNet-5 with the widths of Caffe's: 20 and 50 5x5 filters, 500 units, and a ReLU behind each.
    ///
    /// The pruning literature trains it so; Caffe's own has only the last ReLU. ReLU and max-pooling commute:
    /// behind the pooling it has a quarter of the work.
    case lenet5Caffe = "lenet5_caffe"

    /// The layers for a number of classes.
    ///
    /// `hidden` are the widths of `mlp`'s hidden layers; the others ignore it.
    func layers(classes: Int, hidden: [Int], dropout: Double) -> [LayerSpec] {
        switch self {
        case .linear: Self.perceptron([], classes, dropout)
        case .mlp: Self.perceptron(hidden, classes, dropout)
        case .lenet300100: Self.perceptron([300, 100], classes, dropout)
        case .lenet5Caffe: Self.lenet5(classes, dropout)
        }
    }

    private static func perceptron(_ hidden: [Int], _ classes: Int, _ dropout: Double) -> [LayerSpec] {
        var layers = [LayerSpec(.flatten, name: "flatten1")]
        for (index, width) in hidden.enumerated() {
            layers.append(LayerSpec(.linear(.init(outFeatures: width)), name: "fc\(index + 1)"))
            layers.append(LayerSpec(.relu, name: "relu\(index + 1)"))
            if dropout > 0 { layers.append(LayerSpec(.dropout(dropout), name: "dropout\(index + 1)")) }
        }
        layers.append(LayerSpec(.linear(.init(outFeatures: classes)), name: "fc\(hidden.count + 1)"))
        return layers
    }

    private static func lenet5(_ classes: Int, _ dropout: Double) -> [LayerSpec] {
        let pool = LayerKind.maxPool2d(.init(kernelSize: Pair(2, 2)))
        var layers = [
            LayerSpec(.conv2d(.init(outChannels: 20, kernelSize: Pair(5, 5))), name: "conv1"),
            LayerSpec(pool, name: "pool1"), LayerSpec(.relu, name: "relu1"),
            LayerSpec(.conv2d(.init(outChannels: 50, kernelSize: Pair(5, 5))), name: "conv2"),
            LayerSpec(pool, name: "pool2"), LayerSpec(.relu, name: "relu2"),
            LayerSpec(.flatten, name: "flatten1"), LayerSpec(.linear(.init(outFeatures: 500)), name: "fc1"),
            LayerSpec(.relu, name: "relu3"),
        ]
        if dropout > 0 { layers.append(LayerSpec(.dropout(dropout), name: "dropout1")) }
        layers.append(LayerSpec(.linear(.init(outFeatures: classes)), name: "fc2"))
        return layers
    }
}
