import Formats
import Imaging
import Storage
import SuperResolution

/// The inputs that determine a distillation: with a limit in steps, equal inputs make equal steps.
struct DistillationIdentity: Hashable, Sendable {
  /// The names used in errors and the values as text, in this order.
  let facts: [(name: String, value: String)]

  /// - Parameter distillation: the distillation before its first step.
  /// - Throws: `ModelError` when an image file cannot be read.
  init(
    _ distillation: Distillation, _ settings: DistillationSettings, images: ImageFolder,
    validation: ImageFolder?
  ) throws {
    let rates = ParameterGroup.allCases.map { "\($0) \(settings.rates[$0] ?? 0)" }
    let loss = settings.loss
    facts = [
      ("the program", Producer.current),
      ("the model in full precision", distillation.teacherSHA256),
      ("the quantized model", distillation.studentSHA256),
      ("the image folder", try Self.text(images)),
      ("the validation", try validation.map(Self.text) ?? "held-out patches"),
      ("the limit", "\(settings.limit)"), ("the batch", "\(settings.batchCount)"),
      ("the patches' size", "\(settings.patchSide)"), ("the seed", "\(settings.seed)"),
      ("the patience", settings.patience.map { "\($0)" } ?? "unlimited"),
      ("the rates", rates.joined(separator: ", ")),
      ("the loss", "pixels \(loss.pixels), features \(loss.features) \(loss.norm)"),
    ]
  }

  private static func text(_ images: ImageFolder) throws -> String {
    "\(try images.sha256()) downscaled by \(images.downscalingFactor)"
  }

  static func == (left: Self, right: Self) -> Bool {
    left.facts.elementsEqual(right.facts) { $0 == $1 }
  }

  func hash(into hasher: inout Hasher) {
    for (name, value) in facts {
      hasher.combine(name)
      hasher.combine(value)
    }
  }
}

extension Distillation {
  /// The hash of all parameters of the teacher.
  fileprivate var teacherSHA256: String { SharedBytes(elementsOf: teacherValues).sha256 }

  /// The hash of all parameters of the student with their names, and of all quantizers.
  fileprivate var studentSHA256: String {
    var text = SharedBytes(elementsOf: store.values).sha256
    for entry in store.entries {
      let group = entry.group.map { "\($0)" } ?? "fixed"
      text += "\n\(entry.name) \(group) \(entry.reference.count)"
    }
    for weight in weights {
      text += "\n\(weight.name) \(weight.bitWidth) \(weight.layout.granularity)"
      if case .fixed(let codes) = weight.rounding { text += " \(SharedBytes(codes).sha256)" }
    }
    for activation in activations {
      text += "\n\(activation.name) \(activation.bitWidth) \(activation.scaling)"
    }
    return SharedBytes(text.utf8).sha256
  }
}
