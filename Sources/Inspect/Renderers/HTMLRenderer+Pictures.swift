import Foundation

extension HTMLRenderer {
  /// Pictures in the page itself, as `data:` addresses.
  func section(_ pictures: ReportPictures) -> String {
    let rows = pictures.rows.map { row in
      """
      <h3>\(escaped(row.caption))</h3>
      <div class="pictures">
      \(row.pictures.map(figure).joined(separator: "\n"))
      </div>
      """
    }
    let content = rows.isEmpty ? "<p>None.</p>" : rows.joined(separator: "\n")
    return "<section><h2>\(escaped(pictures.title))</h2>\n\(content)\n</section>"
  }

  private func figure(_ picture: ReportPictures.Picture) -> String {
    let name = escaped("\(picture.label) \(picture.note)")
    let data = Data(picture.png).base64EncodedString()
    return """
      <figure><img src="data:image/png;base64,\(data)" alt="\(name)" \
      width="\(picture.width)" height="\(picture.height)">\
      <figcaption>\(escaped(picture.label))<small>\(escaped(picture.note))</small></figcaption></figure>
      """
  }

  /// What pages with pictures add to the style sheet.
  static let pictureStyle = """
    h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
    .pictures { display: flex; flex-wrap: wrap; gap: .75rem; }
    figure { margin: 0; }
    figure img {
      display: block; max-width: 100%; height: auto; image-rendering: pixelated;
      border: 1px solid var(--line); border-radius: .25rem;
    }
    figcaption { font-size: .85rem; font-weight: 600; margin-top: .25rem; max-width: 14rem;
      overflow-wrap: anywhere; }
    figcaption small {
      display: block; color: var(--soft); font-weight: 400; font-variant-numeric: tabular-nums;
    }
    @media (max-width: 40rem) { figure { max-width: calc(50% - .375rem); } }
    """
}
