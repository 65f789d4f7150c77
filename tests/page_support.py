"""What a page of HTML holds."""

import html.parser


class Page(html.parser.HTMLParser):
  """Reads a page.

  Attributes:
    tags: names of its tags, in their order.
    attributes: (name, value) of theirs.
    text: what is between them.
  """

  def __init__(self, page):
    super().__init__()
    self.tags, self.attributes, self.text = [], [], ""
    self.feed(page)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs

  def handle_data(self, data):
    self.text += data
