/// The arrangement of q, k and v in the weight of an attention layer.
enum FusedProjection: Sendable {
  /// Stacked along the output axis.
  case rows
  /// Side by side, in layers that store their weights as [inputs, outputs], such as GPT-2's
  /// `c_attn`.
  case columns

  static let labels = ["q", "k", "v"]

  /// Names of layers that fuse three projections with q before k before v. BLOOM and GPT-NeoX
  /// interleave them by head in their `query_key_value`, which therefore is not three matrices.
  private static let names: Set<String> = [
    "qkv", "qkv_proj", "to_qkv", "Wqkv", "in_proj", "c_attn",
  ]

  /// Whether the name of the layer indicates that it fuses q, k and v.
  static func isNamed(_ tensor: String) -> Bool {
    moduleName(of: tensor).map(names.contains) ?? false
  }

  /// Determines the arrangement of a matrix by the layer's name, or by its shape if it is inside an
  /// attention layer and has three times as many outputs as inputs.
  ///
  /// - Returns: `nil` unless the matrix is known to consist of three equal parts.
  init?(name: String, rows: Int, columns: Int) {
    guard rows > 0, columns > 0 else { return nil }
    let isInAttention = name.split(separator: ".").dropLast().contains {
      $0.contains("attn") || $0.contains("attention")
    }
    if Self.moduleName(of: name) == "c_attn", columns == 3 * rows {
      self = .columns
    } else if Self.isNamed(name) ? rows.isMultiple(of: 3) : isInAttention && rows == 3 * columns {
      self = .rows
    } else {
      return nil
    }
  }

  /// Returns the module's name: `qkv` for `blocks.0.attn.qkv.weight`, `in_proj` for
  /// `attn.in_proj_weight`.
  private static func moduleName(of tensor: String) -> String? {
    let components = tensor.split(separator: ".", omittingEmptySubsequences: false)
    guard let last = components.last else { return nil }
    if last == "weight" { return components.dropLast().last.map(String.init) }
    return last.hasSuffix("_weight") ? String(last.dropLast("_weight".count)) : nil
  }

  /// Returns the rows and columns of each part.
  func partShape(rows: Int, columns: Int) -> (rows: Int, columns: Int) {
    switch self {
    case .rows: (rows / 3, columns)
    case .columns: (rows, columns / 3)
    }
  }

  /// Returns the elements of part `index`, row by row.
  func part(_ index: Int, of values: [Double], rows: Int, columns: Int) -> [Double] {
    switch self {
    case .rows:
      let count = values.count / 3
      return Array(values[index * count..<(index + 1) * count])
    case .columns:
      let width = columns / 3
      var part: [Double] = []
      part.reserveCapacity(rows * width)
      for row in 0..<rows {
        let start = row * columns + index * width
        part += values[start..<start + width]
      }
      return part
    }
  }
}
