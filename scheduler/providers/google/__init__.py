"""Google's own interfaces: Gemini with search grounding, and the JSON search API."""
