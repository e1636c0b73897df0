internal import JSON
internal import Kernels
internal import Plan

/// The JSON fields of `train.optimizer`.
enum OptimizerFields {
    static let name = Field.choice(
        "name", of: TrainOptions.OptimizerName.self, default: .sgd, "The update rule.")
    static let learningRate = Field.automaticNumber(
        "lr", default: .value(0.1), in: 0...1e3,
        "Learning rate; by default 0.1 for sgd, 0.01 for rmsprop, 0.001 for adam and adamw, 0.0001 for lion. "
            + "\"auto\" finds one by a sweep before training.")
    static let momentum = Field.number(
        "momentum", default: 0, in: 0...0.9999, "Weight of the past gradients, of sgd and rmsprop.")
    static let nesterov = Field.bool(
        "nesterov", default: false, "Whether the momentum of sgd looks ahead.")
    static let betas = Field.numbers(
        "betas", default: [0.9, 0.999], count: 2...2, each: 0...0.999999,
        "Decays of the two averages of adam and adamw, or of lion, whose default is [0.9, 0.99].")
    static let epsilon = Field.number(
        "eps", default: 1e-8, in: 1e-16...1, "What adam, adamw and rmsprop add to what they divide by.")
    static let alpha = Field.number(
        "alpha", default: 0.99, in: 0...0.999999, "Decay of the average of rmsprop.")
    static let weightDecay = Field.number(
        "weight_decay", default: 0, in: 0...10,
        "Decay of the weights; by default 0, for adamw 0.01. adamw and lion decay weights themselves, the "
            + "others add it to the gradient.")
    static let decaysAll = Field.bool(
        "decay_bias_and_norm", default: false,
        "Whether biases and normalisation parameters decay too, as in PyTorch.")
    static let schema = ObjectSchema(
        "optimizer", "How parameters change.",
        fields: [
            name, learningRate, momentum, nesterov, betas, epsilon, alpha, weightDecay, decaysAll,
        ])
    static let object = Field.object("optimizer", schema, "How parameters change.")
}

extension TrainOptions.OptimizerName: FieldOwner {
    var fields: Set<String> {
        switch self {
        case .sgd: ["momentum", "nesterov"]
        case .adam, .adamw: ["betas", "eps"]
        case .lion: ["betas"]
        case .rmsprop: ["momentum", "eps", "alpha"]
        }
    }

    fileprivate var learningRate: Double {
        switch self {
        case .sgd: 0.1
        case .rmsprop: 0.01
        case .adam, .adamw: 0.001
        case .lion: 0.0001
        }
    }
}

extension TrainOptions {
    mutating func readOptimizer(_ reader: inout ObjectReader) {
        let name = reader.read(OptimizerFields.name)
        name.refuseFieldsOfOthers(in: reader, choice: OptimizerFields.name)
        readLearningRate(name, &reader)
        optimizer.rule = rule(name, &reader)
        let hasDecay = reader.contains(OptimizerFields.weightDecay.name)
        let decay = reader.read(OptimizerFields.weightDecay)
        optimizer.weightDecay = Float(!hasDecay && name == .adamw ? 0.01 : decay)
        if !hasDecay, name == .adamw { reader.resolve("weight_decay", as: .number(0.01)) }
        optimizer.decaysBiasAndNorm = reader.read(OptimizerFields.decaysAll)
    }

    private mutating func readLearningRate(_ name: OptimizerName, _ reader: inout ObjectReader) {
        let isGiven = reader.contains(OptimizerFields.learningRate.name)
        let rate = reader.read(OptimizerFields.learningRate)
        findsLearningRate = rate == .automatic
        learningRate = isGiven ? rate.resolved(name.learningRate) : name.learningRate
        if !isGiven { reader.resolve("lr", as: .number(learningRate)) }
    }

    private func rule(_ name: OptimizerName, _ reader: inout ObjectReader) -> OptimizerOptions.Rule {
        switch name {
        case .sgd:
            let momentum = reader.read(OptimizerFields.momentum)
            let nesterov = reader.read(OptimizerFields.nesterov)
            if nesterov, momentum == 0 {
                reader.log.add(
                    reader.pointer(to: "nesterov"), "invalid_value",
                    "Nesterov momentum needs a momentum above 0")
            }
            return .sgd(momentum: momentum, nesterov: nesterov)
        case .adam, .adamw:
            let betas = reader.read(OptimizerFields.betas)
            let epsilon = reader.read(OptimizerFields.epsilon)
            guard betas.count == 2 else { return .sgd(momentum: 0, nesterov: false) }
            return name == .adam
                ? .adam(beta1: betas[0], beta2: betas[1], epsilon: epsilon)
                : .adamW(beta1: betas[0], beta2: betas[1], epsilon: epsilon)
        case .lion:
            let isGiven = reader.contains(OptimizerFields.betas.name)
            var betas = reader.read(OptimizerFields.betas)
            if !isGiven {
                betas = [0.9, 0.99]
                reader.resolve("betas", as: .array(betas.map { .number($0) }))
            }
            guard betas.count == 2 else { return .sgd(momentum: 0, nesterov: false) }
            return .lion(beta1: betas[0], beta2: betas[1])
        case .rmsprop:
            return .rmsProp(
                alpha: reader.read(OptimizerFields.alpha), epsilon: reader.read(OptimizerFields.epsilon),
                momentum: reader.read(OptimizerFields.momentum))
        }
    }
}
