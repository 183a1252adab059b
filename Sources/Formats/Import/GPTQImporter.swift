import Storage

/// Finds the quantized modules of a GPTQ checkpoint, in the layouts of AutoGPTQ (v1) and GPTQModel
/// (v2).
///
/// A module `x` has `x.qweight` (`int32` `[in · bits / 32, out]`: codes low bits first down each
/// column), `x.qzeros` (`int32` `[groups, out · bits / 32]`: along each row), `x.scales`
/// (`[groups, out]`) and `x.g_idx` (the group of each input). An element of `x.weight`
/// (`[out, in]`) is `scale · (code − zero)`; v1 stores `zero − 1`. A symmetric checkpoint has the
/// middle zero point everywhere, which reveals a wrong version label. The lower bound is
/// `−scale · zero`, which Float32 holds exactly for 16-bit scales.
struct GPTQImporter {
  /// The configured bit width; `nil` if each module's shapes determine it.
  private let bitWidth: Int?
  private let groupSize: GroupSize
  /// The configured form of zero points; `nil` if there is no label.
  private let label: Label?
  /// Whether every zero point is the middle one; `nil` if the configuration does not say.
  private let isSymmetric: Bool?
  /// The method that the configuration names, if it is not GPTQ.
  private let otherMethod: String?

  static let bitWidths = [2, 3, 4, 8]

  private enum GroupSize {
    case fixed(Int)
    case wholeRows
    case asShaped
  }

  /// The form of stored zero points: v1 stores each reduced by one.
  private enum Label: Int {
    case v2 = 0
    case v1 = 1

    var text: String { self == .v1 ? "v1" : "v2" }
    var other: Label { self == .v1 ? .v2 : .v1 }
  }

  /// - Parameter config: the content of `quantize_config.json`, or of a `config.json` that holds it
  ///   under `quantization_config`.
  init(config: JSONValue) throws {
    var members = try JSONObjectReader(config, path: "config")
    if let nested = try members.object("quantization_config", { $0 }) { members = nested }
    let bits = try members.require("bits", members.integer("bits"))
    guard Self.bitWidths.contains(bits) else {
      throw ModelError.unsupported(
        "GPTQ codes of \(bits) bits are not supported, only 2, 3, 4 and 8")
    }
    bitWidth = bits
    let size = try members.require("group_size", members.integer("group_size"))
    guard size > 0 || size == -1 else {
      throw ModelError.malformed("'group_size' is \(size), not positive or -1")
    }
    groupSize = size == -1 ? .wholeRows : .fixed(size)
    let format = try members.string("checkpoint_format") ?? "gptq"
    switch format {
    case "gptq": label = .v1
    case "gptq_v2": label = .v2
    default:
      throw ModelError.unsupported(
        "the checkpoint format '\(format)' is not supported, only 'gptq' and 'gptq_v2'")
    }
    if case .boolean(let flag)? = members.take("sym") {
      isSymmetric = flag
    } else {
      isSymmetric = nil
    }
    let method = try members.string("quant_method")
    otherMethod = method.flatMap { $0.lowercased().hasPrefix("gptq") ? nil : $0 }
    if case .object(let rules)? = members.take("dynamic"), !rules.isEmpty {
      throw ModelError.unsupported("modules with their own settings ('dynamic') are not supported")
    }
  }

  /// Creates an importer for a checkpoint without a configuration: each module's shapes determine
  /// its bit width and groups.
  init() {
    bitWidth = nil
    groupSize = .asShaped
    label = nil
    isSymmetric = nil
    otherMethod = nil
  }

  func matrices(of archive: TensorArchive) throws -> [ImportedMatrix] {
    try archive.tensors.keys.filter { $0 == "qweight" || $0.hasSuffix(".qweight") }
      .map { try matrix(String($0.dropLast("qweight".count)), of: archive) }
  }

  /// Plans one module, reading only its zero points.
  ///
  /// - Parameter prefix: the prefix of the module's tensors, including the dot.
  func matrix(_ prefix: String, of archive: TensorArchive) throws -> ImportedMatrix {
    let name = "\(prefix)qweight"
    let words: Set<ElementType> = [.int32, .uint32]
    let weight = try archive.require(name, words, rank: 2)
    let zeros = try archive.require("\(prefix)qzeros", words, rank: 2)
    let scales = try archive.require(
      "\(prefix)scales", [.float16, .bfloat16, .float32], rank: 2)
    if weight.shape.dimensions[1] != scales.shape.dimensions[1],
      weight.shape.dimensions[1] == zeros.shape.dimensions[1]
    {
      throw ModelError.unsupported(
        "the shapes are those of AWQ's layout, despite the configuration; 'convert' quantizes "
          + "the weights anew", tensor: name)
    }
    let outputs = weight.shape.dimensions[1]
    let (zeroBits, zeroOverflow) = zeros.shape.dimensions[1].multipliedReportingOverflow(by: 32)
    let bitWidth = bitWidth ?? (outputs > 0 && !zeroOverflow ? zeroBits / outputs : 0)
    guard Self.bitWidths.contains(bitWidth) else {
      throw ModelError.mismatch(
        expected: "shapes of 2, 3, 4 or 8 bits",
        found: "\(weight.shape), qzeros \(zeros.shape) and scales \(scales.shape)", tensor: name)
    }
    let (bits, overflow) = weight.shape.dimensions[0].multipliedReportingOverflow(by: 32)
    let inputs = bits / bitWidth
    let size =
      switch groupSize {
      case .fixed(let size): size
      case .wholeRows: max(1, inputs)
      case .asShaped: max(1, inputs / max(1, scales.shape.dimensions[0]))
      }
    let groups = inputs == 0 ? 0 : (inputs - 1) / size + 1
    guard !overflow, bits.isMultiple(of: bitWidth), let shape = Shape([outputs, inputs]),
      shape.elementCount > 0, scales.shape.dimensions == [groups, outputs],
      zeros.shape.dimensions[0] == groups,
      // A row of zero points fills its words.
      !zeroOverflow,
      (zeroBits, false) == outputs.multipliedReportingOverflow(by: bitWidth)
    else {
      throw ModelError.mismatch(
        expected: "shapes of \(bitWidth) bits in groups of \(size)",
        found: "\(weight.shape), qzeros \(zeros.shape) and scales \(scales.shape)", tensor: name)
    }
    var parts: Set = [name, "\(prefix)qzeros", "\(prefix)scales"]
    let order = archive.tensors["\(prefix)g_idx"]
    if order != nil { parts.insert("\(prefix)g_idx") }
    let groupsOfInputs = try ImportedGroups(
      order: order, inputs: inputs, count: groups, size: size, name: name)
    let layout = try locatingErrors(tensor: name) {
      try AffineLayout(
        rows: outputs, columns: inputs, granularity: groups == 1 ? .channel : .group(size))
    }
    let stored = try locatingErrors(tensor: "\(prefix)qzeros") {
      try BitStream.unpackCodes(zeros.bytes(), count: groups * outputs, bitWidth: bitWidth)
    }
    let form = try locatingErrors(tensor: "\(prefix)qzeros") {
      try zeroForm(stored, bitWidth: bitWidth)
    }
    let module = Module(
      weight: weight, zeros: zeros, scales: scales, groups: groupsOfInputs, layout: layout,
      shape: shape,
      groupSize: size, bitWidth: bitWidth, zeroOffset: form.label.rawValue, name: name)
    let method = otherMethod.map {
      "the configuration's 'quant_method' is '\($0)', but names and shapes are GPTQ's"
    }
    let remarks = [method, form.remark].compactMap { $0 }
    return ImportedMatrix(
      name: "\(prefix)weight", parts: parts, elementType: scales.elementType, shape: shape,
      spec: AffineSpec(layout: layout, bitWidth: bitWidth),
      form: "GPTQ, \(bitWidth) bits, groups of \(size)",
      remark: remarks.isEmpty ? nil : remarks.joined(separator: "; "),
      load: { try load(module) }, values: { try decoded(module).values })
  }

  /// Determines whether zero points are v1's or v2's, and any remark about that.
  ///
  /// Symmetric codes have the middle zero point, `2^(bits − 1)`, everywhere, which tells the forms
  /// apart. Others may have either form, so the label decides.
  ///
  /// - Throws: `ModelError` when neither the label nor the zero points determine the form.
  private func zeroForm(_ stored: [UInt8], bitWidth: Int) throws -> (label: Label, remark: String?)
  {
    let middle = 1 << (bitWidth - 1)
    let found = [Label.v1, .v2].first { form in
      stored.allSatisfy { Int($0) + form.rawValue == middle }
    }
    guard let label else {
      guard let found else {
        throw ModelError.mismatch(
          expected: "a configuration ('checkpoint_format' in a quantize_config.json or config.json "
            + "beside the file) that says whether zero points are v1's or v2's", found: "none")
      }
      return (
        found,
        "there is no configuration beside it, but its zero points show that they are "
          + "\(found.text)'s"
      )
    }
    if isSymmetric == false {
      return (
        label,
        "zero points are read as \(label.text)'s, as 'checkpoint_format' says; 'sym' is false, so "
          + "nothing in the file confirms that"
      )
    }
    guard let found else {
      let sym = isSymmetric == nil ? "'sym' is missing and" : "'sym' is true, but"
      return (
        label,
        "\(sym) zero points are not all \(middle): they are read as \(label.text)'s, as "
          + "'checkpoint_format' says"
      )
    }
    guard found != label else { return (label, nil) }
    return (
      found,
      "'checkpoint_format' says \(label.text), but the zero points of symmetric codes are "
        + "\(middle), as they are in \(found.text): they are read as \(found.text)'s"
    )
  }

  private struct Module: Sendable {
    let weight: Tensor
    let zeros: Tensor
    let scales: Tensor
    let groups: ImportedGroups
    let layout: AffineLayout
    let shape: Shape
    let groupSize: Int
    let bitWidth: Int
    /// The offset to add to stored zero points.
    let zeroOffset: Int
    let name: String
  }

  /// The codes and parameters of a module with the values that its reader computes.
  private struct Decoded {
    var codes: [UInt8]
    var lower: [Float]
    var scale: [Float]
    var values: [Float]
  }

  private func decoded(_ module: Module) throws -> Decoded {
    let (outputs, inputs) = (module.layout.rows, module.layout.columns)
    let groups = (inputs - 1) / module.groupSize + 1
    let groupOfInput = try module.groups.ofInputs()
    let zeros = try BitStream.unpackCodes(
      module.zeros.bytes(), count: groups * outputs, bitWidth: module.bitWidth)
    let scales = try module.scales.floatValues()
    let codes = try BitStream.unpackColumns(
      of: module.weight, count: inputs, bitWidth: module.bitWidth)
    var lower: [Float] = []
    var scale: [Float] = []
    lower.reserveCapacity(groups * outputs)
    scale.reserveCapacity(groups * outputs)
    var values = [Float](repeating: 0, count: codes.count)
    for output in 0..<outputs {
      for group in 0..<groups {
        let step = scales[group * outputs + output]
        lower.append(-(step * Float(Int(zeros[group * outputs + output]) + module.zeroOffset)))
        scale.append(step)
      }
      for input in 0..<inputs {
        let place = groupOfInput[input] * outputs + output
        let zero = Float(Int(zeros[place]) + module.zeroOffset)
        let element = output * inputs + input
        values[element] = module.scales.elementType.rounded(
          scales[place] * (Float(codes[element]) - zero))
      }
    }
    return Decoded(codes: codes, lower: lower, scale: scale, values: values)
  }

  private func load(_ module: Module) throws -> ImportedMatrix.Loaded {
    try module.groups.requireContiguous()
    let decoded = try decoded(module)
    return ImportedMatrix.Loaded(
      tensor: try QuantizedTensor(
        elementType: module.scales.elementType, shape: module.shape,
        spec: AffineSpec(layout: module.layout, bitWidth: module.bitWidth, parameterType: .float32),
        lower: decoded.lower,
        scale: decoded.scale, codes: BitStream.pack(decoded.codes, bitWidth: module.bitWidth)),
      values: decoded.values)
  }
}
