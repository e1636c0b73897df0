public import Data
public import JSON

extension TrainOptions {
    /// Logs what was asked for and would do nothing with a dataset; `pointer` is that of `train`.
    public func check(against dataset: DatasetInfo, at pointer: String, _ log: ViolationLog) {
        func refuse(_ isAskedFor: Bool, _ place: String, _ detail: String) {
            if isAskedFor { log.add(pointer + place, "invalid_value", detail) }
        }
        if dataset.images == nil {
            let detail = "only images can be changed, and \"\(dataset.name)\" has none"
            refuse(augmentation.cropPadding > 0, "/augment/random_crop", detail)
            refuse(augmentation.flipsHorizontally, "/augment/horizontal_flip", detail)
            refuse(augmentation.cutoutSide > 0, "/augment/cutout", detail)
            refuse(augmentation.mixupAlpha > 0, "/augment/mixup", detail)
        }
        refuse(
            validationFraction > 0 && !dataset.canSetAside, "/validation_fraction",
            "\"\(dataset.name)\" has a validation split already")
    }
}
