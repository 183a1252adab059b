import Storage

/// Finds the modules of integers in a checkpoint of compressed-tensors (`pack-quantized`).
///
/// A module `x` has `x.weight_packed` (`int32` `[out, words]`: codes of `bits` bits along each row, a
/// stream with low bits first), `x.weight_shape`, and `x.weight_scale`: one for the tensor, each row
/// or each group of a row. An element of `x.weight` is `scale · (code − 2^(bits − 1) − zero)`. Zero
/// points are in `x.weight_zero_point`, packed down each column in the same way, and 0 if absent;
/// `x.weight_g_idx` has the group of each input.
struct CompressedTensorsImporter {
  private let configuration: QuantizationConfiguration

  init(_ configuration: QuantizationConfiguration) {
    self.configuration = configuration
  }

  func matrices(of archive: TensorArchive) throws -> [ImportedMatrix] {
    let suffix = "weight_packed"
    return try archive.tensors.keys.filter { $0 == suffix || $0.hasSuffix(".\(suffix)") }.map {
      try matrix(String($0.dropLast(suffix.count)), of: archive)
    }
  }

  /// Plans one module, reading only its shape.
  ///
  /// - Parameter prefix: the prefix of the module's tensors, including the dot.
  func matrix(_ prefix: String, of archive: TensorArchive) throws -> ImportedMatrix {
    let name = "\(prefix)weight_packed"
    let words = try archive.require(name, [.int32, .uint32], rank: 2)
    guard let scales = archive.tensors["\(prefix)weight_scale"],
      [.float16, .bfloat16, .float32].contains(scales.elementType),
      let shapeTensor = archive.tensors["\(prefix)weight_shape"], shapeTensor.elementType.isInteger,
      shapeTensor.shape.dimensions == [2]
    else {
      throw ModelError.mismatch(expected: "'weight_scale' and 'weight_shape'", found: "none")
    }
    let dimensions = try shapeTensor.doubleValues().compactMap { Int(exactly: $0) }
    guard dimensions.count == 2, let shape = Shape(dimensions), shape.elementCount > 0,
      words.shape.dimensions[0] == dimensions[0]
    else {
      throw ModelError.mismatch(
        expected: "rows as 'weight_shape' says", found: "\(words.shape)", tensor: name)
    }
    let (rows, columns) = (dimensions[0], dimensions[1])
    let bits = try bitWidth(words: words.shape.dimensions[1], shape: shape, name)
    let granularity = try granularity(of: scales, for: shape)
    let layout = try locatingErrors(tensor: name) {
      try AffineLayout(rows: rows, columns: columns, granularity: granularity)
    }
    let zeros = archive.tensors["\(prefix)weight_zero_point"]
    if let zeros {
      let needed = BitStream.byteCount(count: rows, bitWidth: bits).map { ($0 + 3) / 4 }
      guard [.int32, .uint32].contains(zeros.elementType), granularity != .tensor,
        zeros.shape.dimensions == [needed ?? -1, layout.cellsPerRow]
      else {
        throw ModelError.mismatch(
          expected: "packed zero points of \(rows) rows and \(layout.cellsPerRow) groups",
          found: "\(zeros.elementType) \(zeros.shape)", tensor: "\(prefix)weight_zero_point")
      }
    }
    let groups = try ImportedGroups(
      order: archive.tensors["\(prefix)weight_g_idx"], inputs: columns, count: layout.cellsPerRow,
      size: Self.groupSize(layout), name: "\(prefix)weight_g_idx")
    let module = Module(
      words: words, scales: scales, zeros: zeros, groups: groups, layout: layout, shape: shape,
      bitWidth: bits)
    let beside = ["weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"]
    let size = granularity == .tensor ? "one scale" : "per \(granularity)"
    return ImportedMatrix(
      name: "\(prefix)weight",
      parts: Set([name] + beside.map { prefix + $0 }.filter { archive.tensors[$0] != nil }),
      elementType: scales.elementType, shape: shape,
      spec: AffineSpec(layout: layout, bitWidth: bits),
      form: "compressed-tensors, \(bits) bits, \(size)",
      load: {
        try groups.requireContiguous()
        return try module.load()
      }, values: { try module.decoded().values })
  }

  private func bitWidth(words: Int, shape: Shape, _ name: String) throws -> Int {
    func isPossible(_ bits: Int) -> Bool {
      BitStream.byteCount(count: shape.dimensions[1], bitWidth: bits).map { ($0 + 3) / 4 } == words
    }
    let candidates = configuration.compressedBitWidth.map { [$0] } ?? [2, 4, 8]
    let widths = candidates.filter { (1...8).contains($0) && isPossible($0) }
    guard widths.count == 1, let bits = widths.first else {
      throw ModelError.mismatch(
        expected: "codes of \(shape.dimensions[0]) × \(shape.dimensions[1]) in words",
        found: "\(words) words per row", tensor: name)
    }
    return bits
  }

  private func granularity(of scales: Tensor, for shape: Shape) throws -> QuantizationGranularity {
    let size = configuration.compressedGroupSize
    let layout = try ScaleLayout(
      codes: shape, scale: scales.shape, configured: size.map { [1, $0] }, prefers128: false)
    if layout.counts.allSatisfy({ $0 == 1 }) {
      return shape.dimensions[0] == 1 ? .channel : .tensor
    }
    guard layout.blocks[0] == 1 else {
      throw ModelError.unsupported("scales \(layout.description) are not supported")
    }
    return layout.counts[1] == 1 ? .channel : .group(layout.blocks[1])
  }

  private static func groupSize(_ layout: AffineLayout) -> Int {
    if case .group(let size) = layout.granularity { size } else { layout.columns }
  }

  private struct Module: Sendable {
    let words: Tensor
    let scales: Tensor
    let zeros: Tensor?
    let groups: ImportedGroups
    let layout: AffineLayout
    let shape: Shape
    let bitWidth: Int

    /// The codes and parameters with the values that the checkpoint's reader computes.
    func decoded() throws -> (codes: [UInt8], offsets: [Float], scale: [Float], values: [Float]) {
      let (rows, columns) = (layout.rows, layout.columns)
      let codes = try BitStream.unpackRows(of: words, count: columns, bitWidth: bitWidth)
      let scale = try scales.floatValues()
      let middle = Float(1 << (bitWidth - 1))
      var offsets = [Float](repeating: middle, count: layout.cellCount)
      if let zeros {
        let stored = try BitStream.unpackColumns(of: zeros, count: rows, bitWidth: bitWidth)
        let groups = layout.cellsPerRow
        for (index, zero) in stored.enumerated() {
          // A stored zero point is raised by the middle, as codes are.
          offsets[index % rows * groups + index / rows] = Float(zero)
        }
      }
      let groupOfInput = try groups.ofInputs()
      var values = [Float](repeating: 0, count: codes.count)
      for row in 0..<rows {
        let first = layout.cellIndex(row: row, column: 0)
        for column in 0..<columns {
          let cell = first + groupOfInput[column]
          let element = row * columns + column
          values[element] = scales.elementType.rounded(
            scale[cell] * (Float(codes[element]) - offsets[cell]))
        }
      }
      return (codes, offsets, scale, values)
    }

    func load() throws -> ImportedMatrix.Loaded {
      let decoded = try decoded()
      return ImportedMatrix.Loaded(
        tensor: try QuantizedTensor(
          elementType: scales.elementType, shape: shape,
          spec: AffineSpec(layout: layout, bitWidth: bitWidth, parameterType: .float32),
          lower: zip(decoded.scale, decoded.offsets).map { -($0 * $1) }, scale: decoded.scale,
          codes: BitStream.pack(decoded.codes, bitWidth: bitWidth)), values: decoded.values)
    }
  }
}
