import ArgumentParser
import Formats
import Transform

extension QuantizationMethod: ExpressibleByArgument {}

/// Options for how a whole model is quantized, and for its target size.
struct MethodOptions: ParsableArguments {
  @OptionGroup(title: "Method") var choice: MethodChoiceOptions
  @OptionGroup(title: "Calibration") var calibration: CalibrationOptions
  @OptionGroup(title: "Learning") var distillation: DistillationOptions

  @OptionGroup(title: "Conditioning") var constraint: ConstraintOptions

  @OptionGroup(title: "Target size") var target: TargetOptions

  func validate() throws {
    if distillation.isGiven, calibration.images == nil {
      throw ValidationError(
        "--minutes, --steps, --batch, --validation, --patience and --checkpoint need "
          + "--calibration-images")
    }
  }

  /// Overrides the recipe's settings by the command line's.
  ///
  /// - Parameter conditions: whether a method may condition weights.
  func apply(to recipe: inout Recipe, conditions: Bool = true) throws {
    var settings = recipe.method
    if let method = choice.method {
      settings = MethodSettings(method)
    } else if settings.method == .nearest, calibration.isGiven {
      settings = MethodSettings(.best)
    }
    if choice.method != nil || settings != recipe.method {
      recipe.defaults.search = settings.method.search
    }
    guard settings.method != .nearest else {
      guard !calibration.isGiven else {
        throw ValidationError("the method 'nearest' takes no calibration")
      }
      guard !choice.weightsOnly, choice.activationBits == nil, choice.activationScaling == nil,
        !constraint.isGiven
      else {
        throw ValidationError(
          "--weights-only, --activation-bits, --activation-scaling, --target-condition and "
            + "--penalty need another --method than 'nearest', --calibration or "
            + "--calibration-images")
      }
      recipe.method = settings
      recipe.budget = target.budget ?? recipe.budget
      return
    }
    if let constraint = constraint.value { settings.constraint = constraint }
    if !conditions { settings.constraint = nil }
    if let bits = choice.activationBits { settings.activationBitWidth = bits }
    if let scaling = choice.activationScaling { settings.activationScaling = scaling }
    if choice.weightsOnly { settings.isWeightsOnly = true }
    // A method from the command line replaces the recipe's, on the same samples.
    settings.calibration = try calibration.applied(to: recipe.method.calibration)
    settings.distillation = try distillation.applied(
      to: recipe.method.distillation, method: settings.method,
      patches: settings.calibration?.patches)
    recipe.method = settings
    recipe.budget = target.budget ?? recipe.budget
  }

  func material(_ common: CommonOptions) -> Compressor.Material {
    Compressor.Material(
      statistics: calibration.file, images: calibration.images,
      validation: distillation.validation, checkpoint: distillation.checkpoint,
      access: common.access)
  }

  /// Rejects these options for plain conversion.
  func refuse(for format: any ModelFormat) throws {
    guard choice.method == nil, !calibration.isGiven, !choice.weightsOnly,
      choice.activationBits == nil,
      choice.activationScaling == nil, !constraint.isGiven, target.budget == nil
    else {
      throw ValidationError(
        "methods, calibration and targets are for packing; \(format.identifier.displayName) "
          + "output keeps every bit")
    }
  }
}

/// Options for the method itself and for what it does with activations.
struct MethodChoiceOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How bounds and codes are found ('best' with a calibration; without, 'nearest': each weight "
        + "on its own, in DOBI's bounds).",
      valueName: "name"))
  var method: QuantizationMethod?

  @Flag(help: "Leave activations in full precision.")
  var weightsOnly = false

  @Option(
    help: ArgumentHelp("Bits of activations, 1 to 8 (those of the weights).", valueName: "n"))
  var activationBits: Int?

  @Option(
    help: ArgumentHelp(
      "What has a range of its own: a whole input (tensor), which is the same for all images; or, "
        + "found when the model runs, a token (row) or so many features of one (group:N). "
        + "'group:16' with 'best', 'tensor' with the others.", valueName: "what"))
  var activationScaling: ActivationScaling?

  func validate() throws {
    if let activationBits, !(1...8).contains(activationBits) {
      throw ValidationError("--activation-bits takes a number from 1 to 8")
    }
  }
}

/// Options for the size that bits are chosen by.
struct TargetOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Choose 2 to 8 bits for each layer so that the parameters become so many times smaller; "
        + "'paper=3.6' counts as the papers do.", valueName: "ratio"))
  var targetRatio: RatioTarget?

  @Option(
    help: ArgumentHelp(
      "Choose 2 to 8 bits for each layer so that the file is at most so large: \(SizeArgument.help).",
      valueName: "size"))
  var targetSize: SizeArgument?

  @Option(
    name: .customLong("target-bpw"),
    help: ArgumentHelp(
      "Choose 2 to 8 bits for each layer: at most so many a quantized weight, bounds included.",
      valueName: "bits"))
  var targetBitsPerWeight: Double?

  var budget: SizeBudget? {
    targetRatio?.budget ?? targetSize.map { .byteCount($0.byteCount) }
      ?? targetBitsPerWeight.map(SizeBudget.bitsPerWeight)
  }

  func validate() throws {
    if let bits = targetBitsPerWeight, !(bits > 0 && bits.isFinite) {
      throw ValidationError("--target-bpw takes a positive number")
    }
    let targets = [targetRatio != nil, targetSize != nil, targetBitsPerWeight != nil]
    guard targets.count(where: { $0 }) <= 1 else {
      throw ValidationError(
        "--target-ratio, --target-size and --target-bpw cannot be used together")
    }
  }
}

/// Options for the constraint of conditioning.
struct ConstraintOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The condition number that weights are brought down to (28; 'best' does so only if told).",
      valueName: "number"))
  var targetCondition: Double?

  @Option(
    help: ArgumentHelp(
      "Instead of a target: what log(condition number) costs, as a share of the layer's output "
        + "energy.", valueName: "share"))
  var penalty: Double?

  var isGiven: Bool { targetCondition != nil || penalty != nil }

  var value: ConditionConstraint? {
    penalty.map(ConditionConstraint.penalty) ?? targetCondition.map(ConditionConstraint.target)
  }

  func validate() throws {
    if let targetCondition, !(targetCondition >= 1 && targetCondition.isFinite) {
      throw ValidationError("--target-condition takes a number of at least 1")
    }
    if let penalty, !(penalty >= 0 && penalty.isFinite) {
      throw ValidationError("--penalty takes a number of at least 0")
    }
    guard targetCondition == nil || penalty == nil else {
      throw ValidationError("--target-condition and --penalty cannot be used together")
    }
  }
}

/// A target ratio on the command line: `3.5` or `paper=3.6`.
struct RatioTarget: ExpressibleByArgument {
  let budget: SizeBudget

  init?(argument: String) {
    let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
    guard let last = parts.last, let ratio = Double(last), ratio > 0, ratio.isFinite else {
      return nil
    }
    switch (parts.count, parts[0]) {
    case (1, _), (2, "parameters"): budget = .ratio(ratio)
    case (2, "paper"): budget = .paperRatio(ratio)
    default: return nil
    }
  }
}
