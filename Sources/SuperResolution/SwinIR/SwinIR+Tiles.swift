extension SwinIR {
  /// How far an edge of a tile reaches into it.
  ///
  /// A convolution carries what differs one pixel further. An attention carries it to the far side
  /// of every window that holds such a pixel. Windows of successive layers lie half a window apart,
  /// so a layer adds about half a window, not a whole one.
  var exactOverlap: Int? {
    let window = configuration.window
    var reach = 1
    for group in groups {
      for layer in group.layers {
        let shift = layer.isShifted ? window / 2 : 0
        // Windows end at multiples of their side, shifted; at the opposite edge the shift counts
        // from the other side, so the worse of both is taken.
        reach = max(
          Self.nextEdge(after: reach, window: window, offset: shift),
          Self.nextEdge(after: reach, window: window, offset: window - shift))
      }
      reach += group.convolution.reach
    }
    reach += last.reach + reconstruction.reach
    return (reach + window - 1) / window * window
  }

  /// The first of `offset`, `offset + window`, `offset + 2·window`, … that is not below `reach`.
  private static func nextEdge(after reach: Int, window: Int, offset: Int) -> Int {
    let offset = offset % window
    return reach <= offset ? offset : offset + (reach - offset + window - 1) / window * window
  }
}
