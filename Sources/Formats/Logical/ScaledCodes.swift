import Storage

/// 8-bit codes whose values are their products with scales in another tensor.
extension TensorAssembly {
  private static let floats: Set<ElementType> = [
    .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ,
  ]
  private static let scaleTypes: Set<ElementType> = [
    .float16, .bfloat16, .float32, .float64, .float8E8M0FNU,
  ]
  /// Tensors beside a weight, such as activation scales, that do not affect its value.
  private static let companions = [
    "input_scale", "scale_input", "input_scale_inv", "activation_scale", "output_scale",
    "input_zero_point", "k_scale", "v_scale",
  ]

  /// The scale tensor of a tensor of codes, and how its values are meant.
  private struct ScaleName {
    let name: String
    /// Whether ambiguous shapes mean blocks of 128, as DeepSeek uses.
    var prefers128 = false
    /// Other tensors that belong to the same weight.
    var others: [String] = []
    /// Whether the scales are the largest magnitudes, which 127 stands for, as bitsandbytes stores
    /// them.
    var isMagnitude = false
  }

  func findScaledCodes() {
    let markers = Set(
      names(ending: "scaled_fp8").filter { name, stem in
        (stem.isEmpty || stem.hasSuffix("."))
          && (stored.tensors[name]?.shape.elementCount ?? .max) <= 2
      }.map(\.stem))
    for (name, codes) in stored.tensors where !claimed.contains(name) {
      let isFloat = Self.floats.contains(codes.elementType)
      guard isFloat || codes.elementType == .int8, codes.shape.elementCount > 0 else { continue }
      guard let scale = scaleName(ofCodes: name, markers: markers) else {
        if isFloat, codes.shape.rank > 0 {
          add(
            name, .plainCodes, [name],
            rule: "unscaled \(codes.elementType) codes, read as plain numbers",
            obstacle: nil)
        }
        continue
      }
      addScaledCodes(name, codes, scale)
    }
    findScalesWithoutCodes()
  }

  private func scaleName(
    ofCodes name: String, markers: Set<String>
  ) -> ScaleName? {
    func isThere(_ name: String) -> Bool { tensor(name) != nil }
    if isThere("\(name)_scale_inv") {
      return ScaleName(name: "\(name)_scale_inv", prefers128: true)
    }
    if isThere("\(name)_scale") { return ScaleName(name: "\(name)_scale") }
    if name.hasSuffix("._data") {
      let scale = "\(name.dropLast("_data".count))_scale"
      return isThere(scale) ? ScaleName(name: scale) : nil
    }
    guard name == "weight" || name.hasSuffix(".weight") else { return nil }
    let stem = name.dropLast("weight".count)
    if isThere("\(stem)scale_weight") {
      // The marker of the nearest enclosing module.
      var around = String(stem)
      while !markers.contains(around), !around.isEmpty {
        around = around.dropLast().lastIndex(of: ".").map { String(around[...$0]) } ?? ""
      }
      return ScaleName(
        name: "\(stem)scale_weight",
        others: markers.contains(around) ? ["\(around)scaled_fp8"] : [])
    }
    if isThere("\(stem)SCB") {
      let format = "\(stem)weight_format"
      return ScaleName(
        name: "\(stem)SCB", others: isThere(format) ? [format] : [], isMagnitude: true)
    }
    if isThere("\(stem)scale") { return ScaleName(name: "\(stem)scale", prefers128: true) }
    return nil
  }

  private func addScaledCodes(_ name: String, _ codes: Tensor, _ scale: ScaleName) {
    guard let scales = tensor(scale.name) else { return }
    let isQuanto = name.hasSuffix("._data")
    let logical = isQuanto ? String(name.dropLast("._data".count)) : name
    let zeroName = "\(name)_zero_point"
    let zeros = tensor(zeroName)
    let stem = name.hasSuffix("weight") ? String(name.dropLast("weight".count)) : "\(name)."
    let format = "\(stem)comfy_quant"
    let parts =
      [name, scale.name] + (zeros == nil ? [] : [zeroName]) + scale.others
      + (tensor(format) == nil ? [] : [format])
    let kept = Self.companions.contains { tensor(stem + $0) != nil }
    add(
      logical, scale.isMagnitude ? .bitsandbytes : .scaledCodes, parts,
      rule: "\(codes.elementType) codes with scales"
    ) {
      guard scale.isMagnitude == false || codes.shape.rank == 2 else {
        throw ModelError.unsupported("codes of the shape \(codes.shape) are not supported")
      }
      if scale.isMagnitude {
        for other in scale.others {
          guard try stored.tensors[other]?.doubleValues() == [0] else {
            throw ModelError.unsupported(
              "codes that are not in rows ('\(other)') are not supported")
          }
        }
      }
      let exponents = scales.elementType == .uint8
      guard exponents || Self.scaleTypes.contains(scales.elementType) else {
        throw ModelError.mismatch(
          expected: "scales of floating point", found: "\(scales.elementType)", tensor: scale.name)
      }
      let layout = try ScaleLayout(
        codes: codes.shape, scale: scales.shape,
        configured: exponents ? nil : configuration.blockSize,
        prefers128: scale.prefers128)
      // 8-bit exponents (MXFP8) each apply to 32 neighbours in a row.
      let isExpected = layout.blocks.last == 32 && layout.blocks.dropLast().allSatisfy { $0 == 1 }
      guard !exponents || isExpected else {
        throw ModelError.unsupported(
          "scales of uint8 are only supported as exponents of 32 adjacent codes",
          tensor: scale.name)
      }
      if let zeros {
        guard zeros.shape == scales.shape,
          zeros.elementType.isInteger || zeros.elementType.isFloatingPoint
        else {
          throw ModelError.mismatch(
            expected: "zero points of the shape \(scales.shape)",
            found: "\(zeros.elementType) \(zeros.shape)", tensor: zeroName)
        }
      }
      let isMagnitude = scale.isMagnitude
      let tensor = try Tensor(shape: codes.shape) {
        var factors = try locatingErrors(tensor: scale.name) { try scales.doubleValues() }
        if exponents { factors = factors.map { Self.exponent($0) } }
        return try Self.products(
          locatingErrors(tensor: name) { try codes.doubleValues() }, factors,
          zeros: zeros?.doubleValues(), layout, isMagnitude: isMagnitude)
      }
      let meaning = isMagnitude ? "scales / 127" : "scales"
      return Assembled(
        tensor: tensor,
        rule: "\(codes.elementType) codes\(zeros == nil ? "" : " less zero points") times "
          + "\(meaning), \(layout.description)",
        remark: kept ? "scales of activations beside it are kept as they are" : nil)
    }
  }

  /// Returns 2^(code − 127), or NaN for 255.
  private static func exponent(_ code: Double) -> Double {
    code == 255 ? .nan : Double(sign: .plus, exponent: Int(code) - 127, significand: 1)
  }

  /// Returns the products of codes and scales, each rounded once to Float32.
  ///
  /// - Parameter isMagnitude: whether the scales are the rows' largest magnitudes. As in
  ///   bitsandbytes, the product with the scale is rounded before it is multiplied by 1/127 and
  ///   rounded again.
  private static func products(
    _ codes: [Double], _ scales: [Double], zeros: [Double]?, _ layout: ScaleLayout,
    isMagnitude: Bool
  ) -> [Float] {
    var values = [Float](repeating: 0, count: codes.count)
    layout.forEachRun { elements, place in
      let (scale, zero) = (scales[place], zeros?[place] ?? 0)
      for element in elements {
        let product = Float((codes[element] - zero) * scale)
        values[element] = isMagnitude ? product * 7.874015718698502e-3 : product
      }
    }
    return values
  }

  private func findScalesWithoutCodes() {
    for suffix in ["weight_scale_inv", "scale_weight", "weight_scale", "SCB"] {
      for (name, stem) in names(ending: suffix) where stem.isEmpty || stem.hasSuffix(".") {
        let codes = "\(stem)weight"
        let found = stored.tensors[codes].map { "'\(codes)' is \($0.elementType)" }
        add(
          codes, .scaledCodes, [name], rule: "scales without codes",
          obstacle: found ?? "'\(codes)' is missing")
      }
    }
  }
}
